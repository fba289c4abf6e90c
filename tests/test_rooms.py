"""Membership in rooms, and of users: an index that agrees with a plain model of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from falcon_ws_mw.errors import InvalidName
from falcon_ws_mw.rooms import Membership, check_name

NAMES = ('', 'a', 'ab', 'b')

steps = st.lists(
    st.tuples(st.booleans(), st.sampled_from(NAMES), st.integers(min_value=0, max_value=3))
)
"""Any interleaving: whether to add or to discard, the name, the member."""

anything = settings(deadline=None, database=None)

Model = dict[str, list[int]]


def played(interleaving: list[tuple[bool, str, int]]) -> tuple[Membership[int], Model]:
    """The index, and the simplest thing that should be equal to it."""
    index: Membership[int] = Membership()
    model: Model = {}
    for adds, name, member in interleaving:
        if adds:
            index.add(name, member)
            members = model.setdefault(name, [])
            if member not in members:
                members.append(member)
        else:
            index.discard(name, member)
            if member in model.get(name, []):
                model[name].remove(member)
            if not model.get(name, [member]):
                del model[name]
    return index, model


@anything
@given(steps)
def test_the_members_of_a_name_are_those_added_and_not_discarded_in_order(
    interleaving: list[tuple[bool, str, int]],
) -> None:
    index, model = played(interleaving)

    assert {name: index.members(name) for name in NAMES} == {
        name: model.get(name, []) for name in NAMES
    }


@anything
@given(steps)
def test_a_name_exists_as_long_as_it_has_a_member(
    interleaving: list[tuple[bool, str, int]],
) -> None:
    index, model = played(interleaving)

    assert index.names() == list(model)


@anything
@given(steps)
def test_the_length_is_the_number_of_names(interleaving: list[tuple[bool, str, int]]) -> None:
    index, model = played(interleaving)

    assert len(index) == len(model)


@anything
@given(steps)
def test_a_count_is_the_number_of_members(interleaving: list[tuple[bool, str, int]]) -> None:
    index, model = played(interleaving)

    assert [index.count(name) for name in NAMES] == [len(model.get(name, [])) for name in NAMES]


@anything
@given(steps, st.lists(st.sampled_from(NAMES)))
def test_a_union_has_each_member_once_in_the_order_of_the_names(
    interleaving: list[tuple[bool, str, int]], names: list[str]
) -> None:
    index, model = played(interleaving)

    assert index.union(names) == list(
        dict.fromkeys(member for name in names for member in model.get(name, []))
    )


@anything
@given(steps, st.sampled_from(['', 'a', 'ab', 'abc', 'b']))
def test_the_names_by_a_prefix_are_those_that_begin_with_it(
    interleaving: list[tuple[bool, str, int]], prefix: str
) -> None:
    index, model = played(interleaving)

    assert index.names(prefix) == [name for name in model if name.startswith(prefix)]


def test_nothing_remains_after_the_last_member_has_gone() -> None:
    index: Membership[int] = Membership()
    index.add('a', 1)

    index.discard('a', 1)

    assert (len(index), index.names(), index.count('a')) == (0, [], 0)


def test_asking_for_a_name_does_not_make_it() -> None:
    index: Membership[int] = Membership()

    index.members('a')
    index.count('a')
    index.union(['a'])
    index.discard('a', 1)

    assert index.names() == []


def test_a_list_of_members_is_a_copy() -> None:
    index: Membership[int] = Membership()
    index.add('a', 1)
    members = index.members('a')

    index.add('a', 2)

    assert members == [1]


# -- names


@pytest.mark.parametrize(
    'name',
    [
        'a',
        ' ',
        'a b/c:d',
        '\n',
        '\0',
        'ünï',
        '😀',
        'a' * 255,
        'é' * 127,
        '😀' * 63,
        'a' + 'é' * 127,
    ],
)
def test_a_name_is_text_of_1_to_255_bytes(name: str) -> None:
    assert check_name('room', name) == name


@pytest.mark.parametrize(
    'name',
    [
        '',
        'a' * 256,
        'é' * 128,
        '😀' * 64,
        'a' * 254 + 'é',
        '\ud800',
        'a\udfff',
        None,
        7,
        b'a',
        ['a'],
    ],
)
def test_anything_else_is_no_name(name: object) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name('room', name)

    assert (caught.value.kind, caught.value.name) == ('room', name)
