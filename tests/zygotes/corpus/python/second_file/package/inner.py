from . import __name__ as name


def up():
    return name
