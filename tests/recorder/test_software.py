"""A run names the commit it was made with."""

from pathlib import Path

import pytest

from labctl.recorder.software import commit_of

CHECKOUTS = {
    "none": ({}, None),
    "detached": ({".git/HEAD": "abc\n"}, "abc"),
    "branch": ({".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": "abc\n"}, "abc"),
    "packed": (
        {".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": "# x\ndef refs/a\nabc refs/heads/main\n"},
        "abc",
    ),
    "no commit yet": ({".git/HEAD": "ref: refs/heads/main\n"}, None),
    "worktree": (
        {
            ".git": "gitdir: real/worktrees/one\n",
            "real/worktrees/one/HEAD": "ref: refs/heads/one\n",
            "real/worktrees/one/commondir": "../..\n",
            "real/refs/heads/one": "abc\n",
        },
        "abc",
    ),
}


@pytest.mark.parametrize("case", CHECKOUTS)
def test_commit_is_read_from_the_checkout(tmp_path: Path, case: str) -> None:
    files, commit = CHECKOUTS[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert commit_of(tmp_path) == commit
