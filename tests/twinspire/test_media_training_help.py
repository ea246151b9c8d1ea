"""The help of `train projection` and `train modality-fusion` tells the defaults that hold."""

import re
from typing import Any

import click
import pytest

from encoders.training.modality_config import ModalityFusionConfig
from encoders.training.projection_config import ProjectionConfig
from twinspire.commands.train_modality_fusion import modality_fusion_command
from twinspire.commands.train_projection import projection_command

CASES = [(projection_command, ProjectionConfig()), (modality_fusion_command, ModalityFusionConfig())]


@pytest.mark.parametrize(("command", "config"), CASES, ids=["projection", "modality-fusion"])
def test_the_help_tells_the_defaults_that_hold(command: click.Command, config: Any) -> None:
    told = {option.name: option.help or "" for option in command.params if isinstance(option, click.Option)}

    for name, value in config.record().items():
        shown = re.search(r"\[default: (.*?)\]", told[name])
        assert shown, name
        if isinstance(value, bool):
            continue  # told by the names of its flags
        if value is None or (name, value) == ("regularisation", 0.0):
            assert shown[1] == "the best in cross-validation", name
        else:
            assert shown[1] == str(value), name
