"""Base subjects, and the ancestors of a letter (rfc5256)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import mime
from congvu.codec.subjects import base_subject


@pytest.mark.parametrize(
    ("subject", "text", "reply"),
    [
        ("", "", False),
        ("Họp giao ban", "Họp giao ban", False),
        ("  Họp \t giao   ban ", "Họp giao ban", False),
        ("Re: Họp", "Họp", True),
        ("RE : re:\tFWD: fw: Họp", "Họp", True),
        ("Re[2]: Họp", "Họp", True),
        ("Re [2] : Họp", "Họp", True),
        ("[so-noi-vu] Re: [van-phong] Họp", "Họp", True),
        ("[so-noi-vu] [van-phong] Họp", "Họp", False),
        ("[so-noi-vu]", "[so-noi-vu]", False),
        ("[a] [b]", "[b]", False),
        ("Họp (fwd) (FWD)", "Họp", True),
        ("(fwd)", "", True),
        ("[Fwd: Re: Họp]", "Họp", True),
        ("Fw: [Fwd: [x] re: Họp (fwd)]", "Họp", True),
        ("Re:", "", True),
        ("re [a] [b]: x", "re [a] [b]: x", False),
        ("Return: x", "Return: x", False),
        ("Reply", "Reply", False),
        ("[[a]] x", "[[a]] x", False),
    ],
)
def test_base_subjects(subject: str, text: str, reply: bool) -> None:
    found = base_subject(subject)
    assert (found.text, found.reply) == (text, reply)


@given(st.lists(st.sampled_from(["Re:", "fwd", ":", "[", "]", "[x]", " ", "(fwd)", "[fwd:", "Họp"]), max_size=40))
def test_a_base_subject_has_no_smaller_one(pieces: list[str]) -> None:
    once = base_subject("".join(pieces))
    assert base_subject(once.text).text == once.text
    assert once.text == " ".join(once.text.split())


@given(st.integers(0, 5), st.sampled_from(["Re: ", "[x] ", "[fwd: ", "fwd [1]: "]))
def test_long_ones_are_read_as_well(count: int, piece: str) -> None:
    base_subject(piece * 250 + "x" * count + "]" * 250)


def references(*lines: str) -> tuple[tuple[str, ...], int]:
    found = mime.scan("".join(line + "\r\n" for line in (*lines, "", "")).encode())
    return found.references[: found.ancestors], len(found.references)


def test_ancestors_are_references_or_the_first_of_in_reply_to() -> None:
    assert references("References: <a@x> <b@x>", "In-Reply-To: <c@x>") == (("a@x", "b@x"), 3)
    assert references("References: <a@x> <b@x>", "In-Reply-To: <b@x>") == (("a@x", "b@x"), 2)
    assert references("In-Reply-To: <b@x> <c@x>") == (("b@x",), 2)
    assert references("References: nothing", "In-Reply-To: <b@x>") == (("b@x",), 1)
    assert references("Subject: x") == ((), 0)


def test_of_many_ancestors_the_first_and_the_nearest_stay() -> None:
    many = [f"<{n}@x>" for n in range(300)]
    chain, kept = references(f"References: {' '.join(many)}", "In-Reply-To: <y@x>")
    assert kept == 100
    assert chain == ("0@x", *(f"{n}@x" for n in range(202, 300)))
    chain, kept = references("In-Reply-To: " + " ".join(many))
    assert (chain, kept) == (("0@x",), 100)
    chain, kept = references("References: <r@x>", "In-Reply-To: " + " ".join(many))
    assert (chain, kept) == (("r@x",), 100)
