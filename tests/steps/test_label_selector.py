"""Label selectors: what each form asks for, and at which character a text stops being one."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer.pipeline.kind import has_label, label_is, list_keys
from stigmer.steps.label_selector import MAX_PARTS, Selection, SelectorError, parsed
from stigmer.store.rows import Query

A, B = has_label("a"), label_is("a", "b")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", Selection()),
        ("  ", Selection()),
        ("a", Selection((A,))),
        ("!a", Selection(without=(A,))),
        (" ! a ", Selection(without=(A,))),
        ("a=b", Selection((B,))),
        ("a==b", Selection((B,))),
        (" a  ==\tb ", Selection((B,))),
        ("a=", Selection((label_is("a", ""),))),
        ("a!=b", Selection(without=(B,))),
        ("a!=", Selection(without=(label_is("a", ""),))),
        ("a in (b)", Selection((B,))),
        ("a in(b,b)", Selection((B,))),
        ("a in (b, c)", Selection(any_of=((B, label_is("a", "c")),))),
        ("a in (b,)", Selection(any_of=((B, label_is("a", "")),))),
        ("a notin (b,c)", Selection(without=(B, label_is("a", "c")))),
        ("in in (in,notin)", Selection(any_of=((label_is("in", "in"), label_is("in", "notin")),))),
        ("notin", Selection((has_label("notin"),))),
        ("a=in", Selection((label_is("a", "in"),))),
        ("example.com/a=b", Selection((label_is("example.com/a", "b"),))),
        ("größe=1.5-rc_2", Selection((label_is("größe", "1.5-rc_2"),))),
        ("a=b,a=c", Selection((B, label_is("a", "c")))),
        (
            "a=b,c!=d,e in (x,y),f notin (z),g,!h",
            Selection(
                (B, has_label("g")),
                ((label_is("e", "x"), label_is("e", "y")),),
                (label_is("c", "d"), label_is("f", "z"), has_label("h")),
            ),
        ),
    ],
)
def test_each_form_asks_for_its_keys(text: str, asked: Selection) -> None:
    assert parsed(text) == asked


TERM = "'=', '==', '!=', 'in', 'notin', ',' or the end"


@pytest.mark.parametrize(
    ("text", "position", "wrong"),
    [
        (",", 1, "expected the name of a label, found ','"),
        ("a,", 3, "expected the name of a label, found the end"),
        ("a,,b", 3, "expected the name of a label, found ','"),
        ("=b", 1, "expected the name of a label, found '='"),
        ("!", 2, "expected the name of a label, found the end"),
        ("!!a", 2, "expected the name of a label, found '!'"),
        ("!a=b", 3, "expected ',' or the end, found '='"),
        ("a b", 3, f"expected {TERM}, found 'b'"),
        ("a>1", 2, f"expected {TERM}, found '>'"),
        ("a<1", 2, f"expected {TERM}, found '<'"),
        ("a(b)", 2, f"expected {TERM}, found '('"),
        ("a!b", 2, f"expected {TERM}, found '!'"),
        ("a=b c", 5, "expected ',' or the end, found 'c'"),
        ("a=b=c", 4, "expected ',' or the end, found '='"),
        ("a===b", 4, "expected ',' or the end, found '='"),
        ("a in", 5, "expected '(', found the end"),
        ("a in b", 6, "expected '(', found 'b'"),
        ("a in ()", 7, "expected a value, found ')'"),
        ("a notin ( )", 11, "expected a value, found ')'"),
        ("a in (b", 8, "expected ',' or ')', found the end"),
        ("a in (b c)", 9, "expected ',' or ')', found 'c'"),
        ("a in (b=c)", 8, "expected ',' or ')', found '='"),
        ("a IN (b)", 3, f"expected {TERM}, found 'IN'"),
        ("x=1,  )", 7, "expected the name of a label, found ')'"),
    ],
)
def test_what_is_none_is_refused_at_the_character_that_shows_it(text: str, position: int, wrong: str) -> None:
    with pytest.raises(SelectorError, match=f"^{re.escape(f'at position {position}: {wrong}')}$"):
        parsed(text)


def test_a_selector_asks_for_so_much_at_most() -> None:
    assert len(parsed(",".join(f"a{n}" for n in range(MAX_PARTS))).keys) == MAX_PARTS
    values = ",".join(f"v{n}" for n in range(MAX_PARTS - 1))
    assert len(parsed(f"a in ({values})").any_of[0]) == MAX_PARTS - 1
    for text in (",".join(f"a{n}" for n in range(MAX_PARTS + 1)), f"a in ({values},more)", f"a notin ({values},more)"):
        with pytest.raises(SelectorError, match="more than 100"):
            parsed(text)


NAMES, VALUES = st.sampled_from(["a", "b", "in", "x/y.z"]), st.sampled_from(["", "1", "2", "notin"])
VALUE_SETS = st.lists(VALUES, min_size=1, max_size=3)
TERMS = st.one_of(
    st.tuples(NAMES, st.just("there"), VALUE_SETS),
    st.tuples(NAMES, st.just("absent"), VALUE_SETS),
    st.tuples(NAMES, st.sampled_from(["=", "==", "!="]), VALUE_SETS.map(lambda values: values[:1])),
    st.tuples(NAMES, st.sampled_from(["in", "notin"]), VALUE_SETS),
)


def written(name: str, operator: str, values: list[str]) -> str:
    inside = ", ".join(values) or ","  # `()` alone is refused: nobody means the empty value by it
    forms = {"there": name, "absent": f"! {name}", "in": f"{name} in ({inside})", "notin": f"{name} notin({inside})"}
    return forms.get(operator, f"{name}{operator}{values[0]}")


def fits(labels: dict[str, str], name: str, operator: str, values: list[str]) -> bool:
    """As Kubernetes' documentation says it."""
    if operator in ("there", "absent"):
        return (name in labels) is (operator == "there")
    if operator in ("=", "==", "in"):
        return labels.get(name) in values
    return name not in labels or labels[name] not in values


@given(labels=st.dictionaries(NAMES, VALUES), terms=st.lists(TERMS, max_size=4))
def test_what_is_asked_for_is_what_kubernetes_would_give(
    labels: dict[str, str], terms: list[tuple[str, str, list[str]]]
) -> None:
    asked = parsed(",".join(written(*term) for term in terms)).narrow(Query("Thing"))
    has = list(list_keys(SimpleNamespace(tags=[], labels=labels), ""))
    assert asked.holds(has) is all(fits(labels, *term) for term in terms)
