"""People as arrays."""

from dataclasses import replace

import numpy as np
from made_up_people import make_people

from pose_topo.data.people import head_size


def test_take_selects_rows_of_all_arrays() -> None:
    people = make_people(6, per_image=2)
    chosen = people.take(np.array([4, 1]))
    assert chosen.names == ["00002.jpg", "00000.jpg"]
    assert np.array_equal(chosen.joints, people.joints[[4, 1]])
    assert np.array_equal(people.take(people.person == 1).image, [0, 1, 2])
    assert len(chosen) == 2


def test_head_size_by_hand() -> None:
    assert head_size(np.array([[10.0, 20.0, 13.0, 24.0], [13.0, 24.0, 10.0, 20.0]])).tolist() == [3.0, 3.0]  # 0.6 x 5


def test_sha256_depends_on_every_field() -> None:
    people = make_people(4)
    same = make_people(4)
    assert people.sha256() == same.sha256()
    unused = replace(people, images=(*people.images, "unused.jpg"))  # nobody is in it
    assert unused.sha256() == people.sha256()
    changed = [
        replace(people, images=("x.jpg", *people.images[1:])),
        replace(people, joints=people.joints + 1e-9),
        replace(people, labelled=~people.labelled),
        replace(people, visible=~people.visible),
        replace(people, center=people.center + 1),
        replace(people, scale=people.scale * 2),
        replace(people, head_box=people.head_box + 1),
        replace(people, annolist_index=people.annolist_index + 1),
        replace(people, person=people.person + 1),
        replace(people, rects_in_image=people.rects_in_image + 1),
        people.take(np.array([1, 0, 2, 3])),
    ]
    assert len({people.sha256(), *(other.sha256() for other in changed)}) == len(changed) + 1
