"""The layout of contact sheets and legends."""

import numpy as np

from pose_topo.pictures import drawing, sheets
from pose_topo.pictures.sheets import CELL, Cell, draw_sheet, fitted, packed


def cells(count: int) -> list[Cell]:
    """Cell k is filled with grey level 10 k + 10."""
    return [Cell(np.full((CELL, CELL, 3), 10 * k + 10, np.uint8), (f"{k}.jpg #0", "16 joints")) for k in range(count)]


def test_seven_cells_by_hand():
    """Six columns and two rows: 2 * 14 + 6 * 256 + 5 * 10 = 1614 wide; a title line and a legend line of 24 under a
    margin of 14, two rows of 256 + 2 * 17 + 10, a margin: 62 + 600 + 14 = 676 high."""
    sheet = draw_sheet(cells(7), "Seven", drawing.BODY[:2])
    assert sheet.shape == (676, 1614, 3)
    for number, (top, left) in enumerate([(62, 14 + 266 * k) for k in range(6)] + [(362, 14)]):
        assert (sheet[top : top + 256, left : left + 256] == 10 * number + 10).all()
        assert (sheet[top - 1, left : left + 256] == 255).all()  # no text runs into the picture
        assert (sheet[top + 256 : top + 290, left : left + 256] < 128).any()  # but there is some below it
    assert (sheet[362:, 300:] == 255).all()


def test_three_cells_of_two_pictures_fit_into_a_row():
    """3 * 516 + 2 * 10 = 1568, just less than six single ones."""
    wide = [Cell(np.full((CELL, 516, 3), 10 * k + 10, np.uint8), ("a", "b")) for k in range(4)]
    sheet = draw_sheet(wide, "Four", drawing.BODY[:1])
    assert sheet.shape == (676, 2 * 14 + 1568, 3)
    for number, (top, left) in enumerate([(62, 14), (62, 540), (62, 1066), (362, 14)]):
        assert (sheet[top : top + 256, left : left + 516] == 10 * number + 10).all()


def test_a_narrow_sheet_wraps_title_and_legend():
    entries = [*drawing.BODY, drawing.hollow("annotated, but hidden"), drawing.TRUE]
    sheet = draw_sheet(cells(1), "A title of many words that is wider than the only picture below it", entries)
    assert sheet.shape[1] == 2 * 14 + 256
    assert (sheet[:, :8] == 255).all() and (sheet[:, -8:] == 255).all()


def test_long_names_keep_both_ends():
    name = "a_very_long_name_of_a_photograph_taken_on_a_holiday_0001.jpg #12"
    short = fitted(name, CELL, sheets.LETTER)
    assert short.startswith("a_very") and short.endswith("#12") and ".." in short
    assert drawing.text_width(short, sheets.LETTER) <= CELL < drawing.text_width(name, sheets.LETTER)
    assert fitted("a.jpg #0", CELL, sheets.LETTER) == "a.jpg #0"


def test_words_fill_rows_of_a_width():
    rows = packed(["one", "two", "three", "four", "five", "six"], len, 8)
    assert rows == [["one", "two"], ["three"], ["four", "five"], ["six"]]
    assert packed(["wider than eight"], len, 8) == [["wider than eight"]]


def test_a_legend_avoids_the_corner_with_joints():
    photo = np.full((600, 800, 3), 200, np.uint8)
    entries = drawing.BODY[:2]
    empty = drawing.stamp(photo, entries, np.zeros((0, 2)))
    assert (empty[-5, 5] != 200).all() and (empty[:500] == 200).all()
    moved = drawing.stamp(photo, entries, np.array([[20.0, 580.0]]))
    assert (moved[-5, -5] != 200).all() and (moved[:, :400] == 200).all()
    assert (photo == 200).all()


def test_a_small_picture_gets_no_legend():
    photo = np.full((100, 100, 3), 200, np.uint8)
    assert (drawing.stamp(photo, drawing.BODY[:1], np.zeros((0, 2))) == 200).all()
