from tests.server.running import Running


def test_a_text_finds_the_items_that_mean_it(shared: Running) -> None:
    assert shared.ids("north", limit=2) == ["north", "north-east"]
