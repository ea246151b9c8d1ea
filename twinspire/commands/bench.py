"""`twinspire bench`: ratios measured in one run on this machine."""

import click

from twinspire.console import examples


@click.group("bench", epilog=examples("twinspire bench search"))
def bench_group() -> None:
    """Measure this machine: every figure is a ratio of two things measured in the same run."""
