"""Nothing is phoned home: the libraries' own switches, set before any of them is imported.

    telemetry.switch_off()     # `import personae` does it

onnxruntime reads its variable when it is imported and not again; its `disable_telemetry_events()` stops neither the
device id and the queue of events below the user's cache folder nor the look-up of its host. Whoever imports it before
personae sets the variable themselves. docs/guides/safety.md has the list; tests/test_quiet.py watches the commands.
"""

import os
from types import MappingProxyType

# Read by, in this order: onnxruntime; huggingface_hub for itself, transformers and diffusers; gradio; ray; whoever
# keeps to donottrack.sh. MediaPipe (1.2, watched by strace) sends nothing and has no switch.
SWITCHES = MappingProxyType(
    {
        "ORT_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "1",
    }
)


def switch_off() -> None:
    """Set every switch, whatever it was: what a library would send is about people who were never asked."""
    os.environ.update(SWITCHES)
