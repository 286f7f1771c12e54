"""How far a schedule has come between its first and its last step."""


def progress(step: int, begin: int, steps: int) -> float:
    """0 up to step `begin`, 1 from step `begin + steps` on, linear between."""
    return min(max((step - begin) / steps, 0.0), 1.0)


def between(value: float, a: float, b: float) -> float:
    """`value` brought back into [min(a, b), max(a, b)], which rounding may have left."""
    return min(max(value, min(a, b)), max(a, b))
