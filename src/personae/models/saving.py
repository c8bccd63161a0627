"""A pipeline's folder on disk: whole or not at all, sealed with its hashes, and sent to the Hub if wanted.

upload = Upload.taken_from(options)          # of diffusers' `save_pretrained(push_to_hub=True, repo_id=...)`
with writing(Path("mine")) as folder: ...
upload.send(pipe, Path("mine"))
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.errors import BadOutput
from personae.models import catalog
from personae.models import folder as model_folder


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A folder to write a model into. After the block it is sealed and becomes `target`, or, after an error, is gone.
    Raises `BadOutput` if it cannot be written."""
    try:
        with model_folder.whole(target) as folder:
            yield folder
            catalog.seal(folder)
    except OSError as error:
        raise BadOutput(f"the model cannot be saved to {target}: {error.strerror or error}") from error


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Where on the Hub a saved model goes.

    repo_id: `owner/name`; None: the folder's name, in the user's own namespace. The others are the Hub's own.
    """

    repo_id: str | None = None
    commit_message: str | None = None
    private: bool | None = None
    create_pr: bool = False
    token: str | None = None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> "Upload":
        """The options of diffusers' `save_pretrained` that concern the Hub, taken out of `options`."""
        return cls(**{name: options.pop(name) for name in cls.__dataclass_fields__ if name in options})

    def send(self, pipe: Any, folder: Path) -> None:
        """Upload all files of a saved model, which must be whole. pipe: the diffusers pipeline that was saved; its
        model card is written as diffusers does. Raises what the Hub's client raises."""
        from diffusers.utils import hub_utils

        repo_id = self.repo_id or folder.resolve().name
        repo_id = hub_utils.create_repo(repo_id, exist_ok=True, private=self.private, token=self.token).repo_id
        card = hub_utils.load_or_create_model_card(repo_id, token=self.token, is_pipeline=True)
        hub_utils.populate_model_card(card).save(folder / "README.md")
        pipe._upload_folder(
            str(folder), repo_id, token=self.token, commit_message=self.commit_message, create_pr=self.create_pr
        )
