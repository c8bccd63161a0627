"""The command line. `app` is where it begins: verbs, errors, exit codes; each verb's file is named after it.

`options` and `steering` are what is typed, `terminal` what verbs share once they run. Brings nothing heavy.
"""


def main() -> None:
    """The program: run a verb, turn errors into one line and an exit code."""
    from personae.cli import interrupt  # late: importing this package stays light

    interrupt.run(_program)


def _program() -> None:
    from personae import late_imports
    from personae.cli import app

    late_imports.install()
    app.main()
