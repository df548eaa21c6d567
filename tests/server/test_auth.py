import pytest

from runnerd.errors import Unauthorized
from runnerd.server.auth import Anonymous, Doorkeeper, key_in
from runnerd.server.head import Head


def head(**headers: str) -> Head:
    return Head("GET", "/", "1.1", tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def test_a_key_comes_by_either_header() -> None:
    assert key_in(head(authorization="Bearer abc")) == "abc"
    assert key_in(head(authorization="bearer  abc ")) == "abc"
    assert key_in(head(x_api_key="abc")) == "abc"
    assert key_in(head(authorization="Bearer abc", x_api_key="other")) == "abc"
    assert key_in(head()) is None


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer ", "abc", ""])
def test_another_scheme_is_refused(value: str) -> None:
    with pytest.raises(Unauthorized):
        key_in(head(authorization=value))


@pytest.mark.parametrize(
    ("anonymous", "loopback", "allowed"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("always", False, True),
        ("never", True, False),
    ],
)
async def test_anonymous_use(anonymous: Anonymous, loopback: bool, allowed: bool) -> None:
    keeper = Doorkeeper(lambda key: key, anonymous=anonymous, loopback=loopback)
    if allowed:
        keeper.refuse_anonymous()
    else:
        with pytest.raises(Unauthorized):
            keeper.refuse_anonymous()


async def test_a_wrong_key_is_refused() -> None:
    def verify(key: str) -> None:
        if key != "right":
            raise Unauthorized("no")

    keeper = Doorkeeper(verify, anonymous="never", loopback=True)
    await keeper.check("right")
    with pytest.raises(Unauthorized):
        await keeper.check("wrong")
