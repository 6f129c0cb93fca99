from common.defaults import PROJECT_ROOT, default_values


def test_every_key_is_documented() -> None:
    text = (PROJECT_ROOT / "docs" / "configuration.md").read_text()
    missing = [key for key in default_values() if f"`{key}`" not in text]
    assert missing == []
