"""What the other checks need of native events; it stands before them."""


def field(event, path):
    for name in path.split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event


def plain(value):
    """A value as the formats of pairs have it."""
    if isinstance(value, list):
        return ",".join(map(plain, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


