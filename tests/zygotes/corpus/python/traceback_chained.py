def first():
    raise ValueError("first")


def second():
    try:
        first()
    except ValueError as problem:
        raise KeyError("second") from problem


try:
    second()
except KeyError:
    {}["third"]
