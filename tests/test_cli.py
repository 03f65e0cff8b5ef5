"""The command line as other tools call it: in processes of its own, with its words, codes and single-line errors."""

import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from congvu import main
from congvu.base.config import load
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.cli import store
from congvu.db import open_database
from congvu.directory import credentials, people

SALTED = "{SSHA512}" + base64.b64encode(hashlib.sha512(b"cu" + b"salt").digest() + b"salt").decode()


def run(*words: str | Path | int, code: int = 0, stdin: str = "", lines: int = 1) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", "from congvu.cli import main; main()", *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if code == 2:
        assert len(done.stderr.strip().splitlines()) == lines or "Usage" in done.stderr, done.stderr
    return done


@pytest.fixture
def data(tmp_path: Path, engine_url: str) -> Path:
    folder = tmp_path / "d"
    run("init", "--data", folder, "--domain", "angiang.gov.vn", "--db", engine_url, "--base-port", "21000")
    return folder


def test_init(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    words = (
        "init",
        "--data",
        folder,
        "--domain",
        "AnGiang.gov.vn",
        "--profile",
        "angiang_2016",
        "--base-port",
        "21000",
    )
    run(*words, "--insecure-loopback")
    assert folder.stat().st_mode & 0o777 == 0o700
    config = load(folder)
    assert config.domains == ("angiang.gov.vn",) and config.profile == "angiang_2016" and config.insecure_loopback
    assert {e.port for e in config.listeners} == {21024, 21025, 21110, 21143, 21443, 21465, 21587, 21993, 21995}
    assert config.tls.key.stat().st_mode & 0o077 == 0
    certificate = x509.load_pem_x509_certificate(config.tls.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"mail.angiang.gov.vn", "localhost"}
    assert {str(a) for a in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(config.tls.certificate, config.tls.key)
    before = (folder / "congvu.toml").read_bytes()
    said = run(*words, code=2).stderr
    assert "congvu.toml" in said and "không ghi đè" in said
    assert (folder / "congvu.toml").read_bytes() == before
    assert "postmaster@angiang.gov.vn\tfunctional\tactive" in run("account", "list", "--data", folder).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--domain", "a b"), "không phải là tên miền"),
        (("--domain", "x.vn", "--profile", "angiang_2061"), "angiang_2016"),
        (("--domain", "x.vn", "--insecure-loopback"), "loopback"),
        (("--domain", "x.vn", "--db", "mysql://x"), "sqlite"),
        (("--domain", "x.vn", "--base-port", "70000"), "base-port"),
        ((), "--domain"),
    ],
)
def test_init_refuses(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    folder = tmp_path / "d"
    assert said in run("init", "--data", folder, *words, code=2).stderr
    assert not (folder / "congvu.toml").exists()


def test_no_data_folder(tmp_path: Path) -> None:
    for words in (("serve",), ("check",), ("queue",), ("account", "list"), ("sample",), ("config",)):
        assert "congvu init" in run(*words, "--data", tmp_path / "none", code=2).stderr


def test_a_wrong_key_is_named(data: Path) -> None:
    path = data / "congvu.toml"
    path.write_text(path.read_text().replace("workers = 0", "worker = 0"))
    said = run("account", "list", "--data", data, code=2).stderr
    assert "“workers”" in said and "congvu.toml:" in said


def test_accounts(data: Path) -> None:
    said = run("account", "add", "NTHue@angiang.gov.vn", "--data", data, "--name", "Nguyễn Thị Huệ").stdout
    password = said.split()[-1]
    assert len(password) == 16
    words = ("account", "add", "lvan@angiang.gov.vn", "--data", data, "--name", "Lê Văn An", "--password-stdin")
    assert run(*words, stdin="mật khẩu của An\n").stdout == "lvan@angiang.gov.vn\n"
    assert "đã có người dùng" in run(*words, stdin="x\n", code=2).stderr
    assert "Mật khẩu" in run("account", "add", "x@angiang.gov.vn", *words[3:], stdin="\n", code=2).stderr
    assert "gmail.com" in run("account", "add", "a@gmail.com", *words[3:], stdin="x\n", code=2).stderr
    listed = run("account", "list", "--data", data).stdout.splitlines()
    assert "nthue@angiang.gov.vn\tperson\tactive\tNguyễn Thị Huệ" in listed and len(listed) == 3
    run("account", "password", "lvan@angiang.gov.vn", "--data", data, "--password-stdin", stdin="mới\r\n")
    database = open_database(load(data).database.url, data=data)
    try:
        found = {a.address: a.id for a in database.read_now(lambda tx: list(people.everyone(tx)))}
        for address, right in (("nthue", password), ("lvan", "mới")):
            stored = database.read_now(credentials.get, found[f"{address}@angiang.gov.vn"])
            assert stored is not None and credentials.verify(stored.hash, Secret(right))
    finally:
        database.close()


def test_import(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "danh-sach.csv"
    rows = "".join(f"nguoi{n}@angiang.gov.vn,Người {n},,{SALTED}\n" for n in range(1200))
    file.write_text("address,name,password,password_hash\n" + rows + "bad,Xấu,x,\nnguoi1@angiang.gov.vn,A,x,\n")
    failed = run("account", "import", file, "--data", data, code=2, lines=3)
    assert "danh-sach.csv:1202: bad:" in failed.stderr and "danh-sach.csv:1203: nguoi1@angiang.gov.vn:" in failed.stderr
    assert len(run("account", "list", "--data", data).stdout.splitlines()) == 1
    assert "imported: 1200" in run("account", "import", file, "--data", data, "--skip-bad").stdout
    assert len(run("account", "list", "--data", data).stdout.splitlines()) == 1201


def test_sample_check_and_queue(data: Path) -> None:
    table = run("sample", "--data", data).stdout
    assert "nthue@angiang.gov.vn" in table and "soxaydung@angiang.gov.vn" in table and "lvan02@angiang.gov.vn" in table
    assert "there already" in run("sample", "--data", data).stdout
    assert "whole" in run("check", "--data", data).stdout
    assert "waiting: 0" in run("queue", "--data", data).stdout
    password = next(line for line in table.splitlines() if "nthue@" in line).replace("│", " ").split()[1]
    for path in data.rglob("*"):
        if path.is_file():
            assert password.encode() not in path.read_bytes(), path  # printed once, written nowhere


def test_check_says_that_a_store_is_of_an_older_version(data: Path) -> None:
    database = open_database(load(data).database.url, data=data)
    try:
        database.write_now(lambda tx: tx.run("UPDATE schema_version SET version = 5 WHERE part = 'spine'"))
    finally:
        database.close()
    assert "older version" in run("check", "--data", data, code=2).stderr


def test_check_tells_what_is_wrong(data: Path) -> None:
    database = open_database(load(data).database.url, data=data)
    try:
        database.write_now(lambda tx: tx.run("DELETE FROM account"))
    finally:
        database.close()
    assert "does not exist" in run("check", "--data", data, code=1).stdout


def test_repair(data: Path) -> None:
    run("sample", "--data", data)
    database = open_database(load(data).database.url, data=data)
    try:
        database.write_now(lambda tx: tx.run("UPDATE mailbox SET unseen = 99"))
        database.write_now(lambda tx: tx.run("UPDATE blob SET place = 'nonsense'"))
        database.write_now(lambda tx: tx.run("DELETE FROM change"))
    finally:
        database.close()
    assert "counters say" in run("check", "--data", data, code=1).stdout
    assert "--repair" in run("check", "--data", data, "--salvage", "nthue@angiang.gov.vn", code=2).stderr
    said = run("check", "--data", data, "--repair").stdout
    assert "found again at pack/" in said and "written anew" in said and said.endswith("whole\n"), said
    said = run("check", "--data", data, "--repair").stdout
    assert "repaired: 0" in said and len(said.splitlines()) == 2
    database = open_database(load(data).database.url, data=data)
    try:
        for table in ("message", "letter", "change"):
            database.write_now(lambda tx, table=table: tx.run(f"DELETE FROM {table}"))
    finally:
        database.close()
    assert "--salvage" in run("check", "--data", data, "--repair").stdout
    assert "ai@" in run("check", "--data", data, "--repair", "--salvage", "ai@angiang.gov.vn", code=2).stderr
    said = run("check", "--data", data, "--repair", "--salvage", "nthue@angiang.gov.vn").stdout
    assert "put back as UID 1" in said and "no letter speaks of" not in said


def test_repair_waits_for_no_running_server(data: Path) -> None:
    with main.alone(data), pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "_LOCK_SECONDS", 0.2)
        with pytest.raises(Refused, match="already-running"):
            store.check(data, repair=True)


def test_config() -> None:
    page = run("config", "--doc").stdout
    assert page.startswith("# Cấu hình") and "`domains`" in page
    assert "--data" in run("config", code=2).stderr


def test_config_hides_the_password_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "congvu.toml").write_text(
        'domains = ["x.vn"]\nhostname = "x"\n[database]\nurl = "postgresql://u:geheim@h/n"\n'
    )
    said = run("config", "--data", tmp_path).stdout
    assert "geheim" not in said and "postgresql://u:…@h/n" in said


def test_help_is_vietnamese_first() -> None:
    said = run("--help").stdout
    for word in ("init", "serve", "account", "check", "queue", "sample", "demo", "config"):
        assert word in said
    assert "Tài khoản" in said and "congvu " in run("--version").stdout


def test_units_people_roles_and_audit(data: Path, engine_url: str) -> None:
    at = ("--data", data)
    run("account", "add", "nthue@angiang.gov.vn", "--name", "Nguyễn Thị Huệ", *at)
    assert "102" in run("unit", "communes", "An Giang", *at).stdout
    number = run("unit", "add", "Sở Xây dựng", "--category", "so", "--parent", "tỉnh an giang", *at).stdout.strip()
    office = run("unit", "add", "Văn phòng", "--category", "vanphong", "--parent", number, *at).stdout.strip()
    assert f"Sở Xây dựng\tso\t{number}" in run("unit", "list", "xay dung", *at).stdout
    assert len(json.loads(run("unit", "list", "--json", *at).stdout)) == 105
    assert f"\n    Văn phòng\tvanphong\t{office}" in run("unit", "list", *at).stdout
    run("unit", "change", number, "--name", "Sở Xây dựng An Giang", "--why", "QĐ 1", *at)
    assert "Tỉnh An Giang › Sở Xây dựng An Giang" in run("unit", "show", "so xay dung", *at).stdout
    run("unit", "end", office, "--on", "2026-01-01", "--to", number, *at)
    assert "2026-01-01\tmerged" in run("unit", "show", number, *at).stdout
    run("person", "post", "nthue@angiang.gov.vn", "--unit", number, "--title", "Chuyên viên", *at)
    run("person", "post", "nthue@angiang.gov.vn", "--unit", "long xuyen", "--title", "Ủy viên", "--add", *at)
    run("person", "contact", "nthue@angiang.gov.vn", "--mobile", "0900", "--public", *at)
    (card,) = json.loads(run("person", "find", "chuyen vien", "--json", *at).stdout)
    assert (card["name"], card["path"][-1], card["mobile"], card["public"]) == (
        *("Nguyễn Thị Huệ", "Sở Xây dựng An Giang", "0900", True),
    )
    role = ("nthue@angiang.gov.vn", "unit_admin")
    run("role", "give", *role, "--unit", number, *at)
    assert "nthue@angiang.gov.vn\tunit_admin\tSở Xây dựng An Giang" in run("role", "list", *at).stdout
    run("role", "take", *role, "--unit", number, *at)
    assert run("role", "list", *at).stdout == ""
    head = run("audit", "verify", *at).stdout.rpartition(": ")[2].strip()
    assert "role.take" in run("audit", "list", "--act", "role.", "--limit", "1", *at).stdout
    database = open_database(engine_url, data=data)
    database.write_now(lambda tx: tx.run("DELETE FROM audit WHERE act = 'role.give'"))
    database.close()
    assert "are missing" in run("audit", "verify", "--head", head, *at, code=1).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("unit", "add", "X", "--category", "department"),
        ("unit", "show", "nowhere"),
        ("unit", "communes", "Atlantis"),
        ("person", "post", "nobody@angiang.gov.vn", "--unit", "x"),
        ("role", "give", "nobody@angiang.gov.vn", "king", "--unit", "x"),
        ("audit", "verify", "--head", "seal"),
    ],
)
def test_what_the_directory_refuses(data: Path, words: tuple[str, ...]) -> None:
    run(*words, "--data", data, code=2)
