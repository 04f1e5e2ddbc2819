"""The files beside the database: private, whole, and believed only where their owner alone could have written them."""

import os
import stat
import subprocess

import pytest
from msgspec.structs import replace

from torana.control import files
from torana.control.secrets import digest, new_key, new_secret
from torana.errors import ConfigError, StoreError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_announce_writes_files_for_the_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        token = files.announce(tmp_path, "http://127.0.0.1:1")
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in (files.RUN_NAME, files.TOKEN_NAME)] == [0o600, 0o600]
    found = files.find(tmp_path)
    assert (found.pid, found.address, files.token_of(found)) == (os.getpid(), "http://127.0.0.1:1", token)
    assert sorted(os.listdir(tmp_path)) == sorted([files.RUN_NAME, files.TOKEN_NAME])


def test_each_start_has_a_token_of_its_own(tmp_path):
    assert files.announce(tmp_path, "http://127.0.0.1:1") != files.announce(tmp_path, "http://127.0.0.1:1")


def test_the_token_is_not_in_the_run_file(tmp_path):
    token = files.announce(tmp_path, "http://127.0.0.1:1")
    assert token not in (tmp_path / files.RUN_NAME).read_text()


def test_withdraw_removes_what_announce_wrote_and_nothing_of_a_successor(tmp_path):
    files.announce(tmp_path, "http://127.0.0.1:1")
    files.withdraw(tmp_path)
    assert os.listdir(tmp_path) == []
    files.write_private(tmp_path / files.RUN_NAME, '{"pid": 1, "address": "x", "token": "y"}')
    files.withdraw(tmp_path)
    assert os.listdir(tmp_path) == [files.RUN_NAME]


def test_no_run_file_is_no_server(tmp_path):
    assert files.find(tmp_path) is None
    files.withdraw(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"pid": "x"}', '{"pid": 1, "address": "a", "token": "b", "z": 1}']
)
def test_a_run_file_that_is_none_is_refused(tmp_path, text):
    files.write_private(tmp_path / files.RUN_NAME, text)
    with pytest.raises(ConfigError):
        files.find(tmp_path)


def test_a_file_that_others_can_open_is_not_believed(tmp_path):
    files.announce(tmp_path, "http://127.0.0.1:1")
    (tmp_path / files.TOKEN_NAME).chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        files.token_of(files.find(tmp_path))


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / files.RUN_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot read"):
        files.find(tmp_path)


def test_a_pipe_does_not_hang_the_reader(tmp_path):
    os.mkfifo(tmp_path / files.RUN_NAME, 0o600)
    with pytest.raises(ConfigError):
        files.find(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        files.announce(tmp_path / "file" / "folder", "http://127.0.0.1:1")


def test_a_process_is_alive_or_not():
    child = subprocess.Popen(["true"])
    child.wait(timeout=30)
    assert [files.is_alive(pid) for pid in (os.getpid(), child.pid, 0, -1)] == [True, False, False, False]


# ---------------------------------------------------------------- the first key


def test_the_first_run_makes_a_key_and_keeps_its_secret_in_a_private_file(tmp_path):
    first = files.first_key(tmp_path, [], 5)
    assert (first.new, first.key.source, first.key.created) == (True, "generated", 5)
    assert first.key.digest == digest(first.secret)
    assert first.path.read_text() == first.secret + "\n"
    assert mode(first.path) == 0o600


def test_a_restart_names_the_file_that_holds_it(tmp_path):
    first = files.first_key(tmp_path, [], 5)
    again = files.first_key(tmp_path, [first.key], 9)
    assert again == replace(first, new=False)


def test_a_key_made_on_purpose_is_enough(tmp_path):
    assert files.first_key(tmp_path, [new_key("a", new_secret(), 1)], 5) is None
    assert os.listdir(tmp_path) == []


def test_the_secret_survives_the_loss_of_the_database(tmp_path):
    first = files.first_key(tmp_path, [], 5)
    again = files.first_key(tmp_path, [], 9)
    assert (again.new, again.secret) == (True, first.secret)


def test_a_revoked_first_key_is_followed_by_another_secret(tmp_path):
    first = files.first_key(tmp_path, [], 5)
    again = files.first_key(tmp_path, [replace(first.key, revoked=6)], 9)
    assert again.new is True
    assert again.secret != first.secret


def test_a_generated_key_whose_file_was_removed_is_not_made_again(tmp_path):
    first = files.first_key(tmp_path, [], 5)
    first.path.unlink()
    assert files.first_key(tmp_path, [first.key], 9) is None
