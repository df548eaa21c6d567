import dataclasses
import enum
import typing


@dataclasses.dataclass(order=True)
class Item:
    name: str
    tags: list[str] = dataclasses.field(default_factory=list)


class Colour(enum.Flag):
    RED = enum.auto()
    BLUE = enum.auto()


print(Item("a"), Item("a") < Item("b"), typing.get_type_hints(Item), Colour.RED | Colour.BLUE)
