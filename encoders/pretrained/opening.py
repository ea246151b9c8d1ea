"""Opening the models of transformers, from files that were checked, and never with code of their own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from encoders.card import EncoderCard
from encoders.device import device, dtype
from encoders.extras import require
from retrieval.errors import IncompatibleModel, UnreadableSource


def open_model(model_class: Any, card: EncoderCard, folder: Path) -> Any:
    """Open a model for inference: on the chosen device, frozen, every weight from the folder's files.

    Args:
        model_class: of transformers, which also renames what older versions called otherwise.
        card: the card of the folder; its `preprocessing` may pin the `precision`.
        folder: holds config.json and the weights as safetensors.

    Raises:
        IncompatibleModel: if the weights do not fit the config.
        DeviceNotThere: if the device that was asked for is not there.
    """
    what = f"model {card.name}@{card.version}"
    finely, where = dtype(str(card.preprocessing.get("precision", "auto"))), device()
    with quiet():
        try:
            model, told = model_class.from_pretrained(
                folder,
                dtype=finely,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise IncompatibleModel(f"{what}: its weights do not fit its {model_class.__name__}") from error
    lacking = sorted({*told["missing_keys"], *(str(key[0]) for key in told["mismatched_keys"])})
    if lacking:
        raise IncompatibleModel(
            f"{what}: its files lack {len(lacking)} weights of {model_class.__name__}, such as {lacking[0]}"
        )
    return model.to(where).eval().requires_grad_(False)


def need_transformers(card: EncoderCard) -> None:
    """Check that what an encoder of transformers' needs is installed. Raises as `require_transformers`."""
    require_transformers(f"model {card.name}@{card.version}")


def require_transformers(what: str) -> None:
    """Check that torch and transformers are installed.

    Raises:
        MissingExtra: if one is not; says what needs it.
    """
    for module in ("torch", "transformers"):
        require(module, "hf", what)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing progress bars and advice to a terminal that is ours."""
    import logging as levels

    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(levels.CRITICAL)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def read_config(config_class: Any, config: Mapping[str, Any]) -> Any:
    """Make a config of transformers from what config.json says, with the defaults of its class.

    Raises:
        UnreadableSource: if a value in it cannot be.
    """
    with quiet():
        try:
            return config_class.from_dict(dict(config))
        except Exception as error:  # its validation raises classes of several libraries
            raise UnreadableSource(f"config.json is not a {config_class.__name__}") from error
