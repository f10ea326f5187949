"""Work shared out over threads: every piece once, in order, each thread computing alone."""

import threading

import torch

from labctl.optics.free_space.threads import share_out


def test_every_piece_is_worked_on_once_and_neighbours_stay_together():
    for threads in (1, 2, 3, 8):
        shares = share_out(list, range(7), threads)
        assert [piece for share in shares for piece in share] == list(range(7))
        assert len(shares) == min(threads, 7)


def test_threads_compute_alone_and_the_caller_keeps_its_own():
    torch.set_num_threads(2)
    seen = share_out(lambda _: (threading.get_ident(), torch.get_num_threads()), range(4), 2)
    assert [count for _, count in seen] == [1, 1]
    assert threading.get_ident() not in dict(seen)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
