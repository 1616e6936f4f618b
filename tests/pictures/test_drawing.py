"""Drawn people, legends and contact sheets: known pixels."""

import numpy as np
import pytest

from pose_topo.pictures.drawing import (
    BODY,
    CELL,
    LETTER,
    SIDES,
    TRUE,
    Cell,
    Pen,
    draw_person,
    draw_sheet,
    extent,
    fitted,
    hollow,
    packed,
    stamp,
    text_width,
)  # fmt: skip
from pose_topo.study import joints as J

GROUND = 128


def picture() -> np.ndarray:
    return np.full((320, 320, 3), GROUND, np.uint8)


def legs() -> tuple[np.ndarray, np.ndarray]:
    """Lower legs from (x, 10) to (x, 310), right at x = 100, left at x = 200: a person of 300 px."""
    points, shown = np.zeros((16, 2)), np.zeros(16, bool)
    points[[J.R_KNEE, J.R_ANKLE, J.L_KNEE, J.L_ANKLE]] = [[100, 10], [100, 310], [200, 10], [200, 310]]
    shown[[J.R_KNEE, J.R_ANKLE, J.L_KNEE, J.L_ANKLE]] = True
    return points, shown


def grey(colour) -> float:
    """The grey level of an RGB colour (ITU-R BT.601)."""
    return float(np.dot(colour, [0.299, 0.587, 0.114]))


def test_each_leg_has_the_colour_of_its_side():
    points, shown = legs()
    drawn = draw_person(picture(), points, shown=shown, size=600)  # limbs of 8 px, rims of 3
    for x, side in ((100, "right"), (200, "left")):
        assert tuple(drawn[160, x]) == SIDES[side].body  # the middle of the limb
        assert tuple(drawn[10, x]) == SIDES[side].body  # the knee
        assert tuple(drawn[160, x + 6]) == tuple(drawn[160, x - 6]) == SIDES[side].rim
    assert (drawn[160, [90, 110, 150, 190, 210]] == GROUND).all()


def test_drawing_does_not_change_the_given_picture():
    given = picture()
    points, shown = legs()
    draw_person(given, points, shown=shown)
    draw_person(given, points, shown=shown, reference=True)
    assert (given == GROUND).all()


def test_a_hollow_joint_is_a_ring_and_its_limb_is_thin():
    points, shown = legs()
    solid = shown.copy()
    solid[J.L_ANKLE] = False
    drawn = draw_person(picture(), points, solid=solid, shown=shown, size=600)
    look = SIDES["left"]
    assert tuple(drawn[310, 200]) == look.rim and tuple(drawn[310, 208]) == look.body  # a hole, and the ring around it
    assert tuple(drawn[10, 200]) == look.body
    wide, thin = ((drawn[160, x - 10 : x + 11] != GROUND).any(-1).sum() for x in (100, 200))
    assert 14 <= wide <= 17 and 4 <= thin <= 7  # 8 + 2 * 3 and 2 + 2 * 1, and soft borders
    assert tuple(drawn[160, 200]) == look.body


def test_joints_that_are_not_shown_are_not_drawn():
    points, shown = legs()
    shown[J.R_ANKLE] = False
    drawn = draw_person(picture(), points, shown=shown)
    assert (drawn[30:, 60:140] == GROUND).all()  # neither the ankle nor the limb
    assert (draw_person(picture(), points, shown=np.zeros(16, bool)) == GROUND).all()


@pytest.mark.parametrize(("size", "pen"), [(0, (1, 1, 3)), (75, (1, 1, 3)), (300, (4, 1, 4)), (1500, (20, 7, 22))])
def test_widths_fit_the_person(size, pen):
    assert Pen.for_size(size) == Pen(*pen)


def test_a_person_larger_than_the_picture_is_drawn_as_one_of_its_size():
    points, shown = legs()
    ends = points.copy()
    ends[[J.R_ANKLE, J.L_ANKLE], 1] = 5000.0
    assert np.array_equal(
        draw_person(picture(), ends, shown=shown), draw_person(picture(), ends, shown=shown, size=320.0)
    )


def test_a_persons_size_is_that_of_the_joints_shown():
    points, shown = legs()
    assert extent(points, shown) == 300
    assert extent(points, np.zeros(16, bool)) == 0


def test_the_rims_of_the_sides_differ_in_a_grey_print():
    left, right = SIDES["left"], SIDES["right"]
    assert grey(left.rim) - grey(left.body) > 90 and grey(right.body) - grey(right.rim) > 150


def test_every_limb_has_a_side():
    words = [J.limb_side(a, b) for a, b in J.LIMBS]
    assert {word: words.count(word) for word in words} == {"right": 6, "left": 6, "middle": 3}


def test_joints_far_outside_are_harmless():
    points, shown = legs()
    points[J.R_ANKLE] = 1e12, -1e12
    assert draw_person(picture(), points, shown=shown).shape == (320, 320, 3)


def test_the_reference_is_white():
    points, shown = legs()
    drawn = draw_person(picture(), points, shown=shown, reference=True)
    assert (drawn[160, [100, 200]] > 225).all() and (drawn[160, [98, 198]] < 100).all()
    assert (drawn[10, [100, 200]] == 255).all()


# ---- contact sheets and legends


def cells(count: int) -> list[Cell]:
    """Cell k is filled with grey level 10 k + 10."""
    return [Cell(np.full((CELL, CELL, 3), 10 * k + 10, np.uint8), (f"{k}.jpg #0", "16 joints")) for k in range(count)]


def test_seven_cells_by_hand():
    """Six columns and two rows: 2 * 14 + 6 * 256 + 5 * 10 = 1614 wide; a title line and a legend line of 24 under a
    margin of 14, two rows of 256 + 2 * 17 + 10, a margin: 62 + 600 + 14 = 676 high."""
    sheet = draw_sheet(cells(7), "Seven", BODY[:2])
    assert sheet.shape == (676, 1614, 3)
    for number, (top, left) in enumerate([(62, 14 + 266 * k) for k in range(6)] + [(362, 14)]):
        assert (sheet[top : top + 256, left : left + 256] == 10 * number + 10).all()
        assert (sheet[top - 1, left : left + 256] == 255).all()  # no text runs into the picture
        assert (sheet[top + 256 : top + 290, left : left + 256] < 128).any()  # but there is some below it
    assert (sheet[362:, 300:] == 255).all()


def test_three_cells_of_two_pictures_fit_into_a_row():
    """3 * 516 + 2 * 10 = 1568, just less than six single ones."""
    wide = [Cell(np.full((CELL, 516, 3), 10 * k + 10, np.uint8), ("a", "b")) for k in range(4)]
    sheet = draw_sheet(wide, "Four", BODY[:1])
    assert sheet.shape == (676, 2 * 14 + 1568, 3)
    for number, (top, left) in enumerate([(62, 14), (62, 540), (62, 1066), (362, 14)]):
        assert (sheet[top : top + 256, left : left + 516] == 10 * number + 10).all()


def test_a_narrow_sheet_wraps_title_and_legend():
    entries = [*BODY, hollow("annotated, but hidden"), TRUE]
    sheet = draw_sheet(cells(1), "A title of many words that is wider than the only picture below it", entries)
    assert sheet.shape[1] == 2 * 14 + 256
    assert (sheet[:, :8] == 255).all() and (sheet[:, -8:] == 255).all()


def test_long_names_keep_both_ends():
    name = "a_very_long_name_of_a_photograph_taken_on_a_holiday_0001.jpg #12"
    short = fitted(name, CELL, LETTER)
    assert short.startswith("a_very") and short.endswith("#12") and ".." in short
    assert text_width(short, LETTER) <= CELL < text_width(name, LETTER)
    assert fitted("a.jpg #0", CELL, LETTER) == "a.jpg #0"


def test_words_fill_rows_of_a_width():
    rows = packed(["one", "two", "three", "four", "five", "six"], len, 8)
    assert rows == [["one", "two"], ["three"], ["four", "five"], ["six"]]
    assert packed(["wider than eight"], len, 8) == [["wider than eight"]]


def test_a_legend_avoids_the_corner_with_joints():
    photo = np.full((600, 800, 3), 200, np.uint8)
    entries = BODY[:2]
    empty = stamp(photo, entries, np.zeros((0, 2)))
    assert (empty[-5, 5] != 200).all() and (empty[:500] == 200).all()
    moved = stamp(photo, entries, np.array([[20.0, 580.0]]))
    assert (moved[-5, -5] != 200).all() and (moved[:, :400] == 200).all()
    assert (photo == 200).all()


def test_a_small_picture_gets_no_legend():
    photo = np.full((100, 100, 3), 200, np.uint8)
    assert (stamp(photo, BODY[:1], np.zeros((0, 2))) == 200).all()
