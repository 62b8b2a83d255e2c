"""Signing a folder, and checking a signature, with OpenSSF's model-signing and a key of one's own.
No certificate authority and no network is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.files import write_atomic
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models.certificate import Check
from models.installation import further_packages

SIGNATURE_FILE = "model.sig"
PASSWORD_VARIABLE = "LUTHIER_SIGNING_PASSWORD"
_CHECK = "signature"
# the second is imported by the first, which does not say so; the same pins as the extra "sign"
_PACKAGES = ("model-signing==1.1.1", "pyopenssl==26.4.0")
_NEW_KEY = "`openssl ecparam -name prime256v1 -genkey -noout -out key.pem` makes one."
_SHOWN = 16  # hexadecimal digits of a key's fingerprint


def sign(folder: Path, key: Path, password: str = "") -> Path:
    """Sign every file of the folder; a signature that is there is replaced. The public key is
    written beside the private one, where there is none yet, and its path returned."""
    if not folder.is_dir():
        raise LuthierError(
            "No such folder", f"{folder} is not a folder.", "Name an export's folder."
        )
    _check_library()
    from model_signing import hashing, signing

    public = _public_key(key, password)
    signature = folder / SIGNATURE_FILE
    partial = folder / f".{SIGNATURE_FILE}"
    settings = hashing.Config().set_ignored_paths(paths=[SIGNATURE_FILE, f".{SIGNATURE_FILE}"])
    try:
        # the library passes the password on as it is, and the reader of keys wants bytes
        secret: Any = password.encode() if password else None
        signing.Config().use_elliptic_key_signer(
            private_key=key, password=secret
        ).set_hashing_config(settings).sign(folder, partial)
        partial.replace(signature)
    except (ValueError, TypeError, OSError) as error:
        raise LuthierError("Not signed", f"{folder}: {error}", "") from error
    finally:
        partial.unlink(missing_ok=True)
    public_path = key.with_suffix(".pub")
    if not public_path.exists():
        write_atomic(public_path, public)
    return public_path


def check_signature(folder: Path, public_key: Path | None) -> Check:
    """Whether the folder is signed, by whom, and whether every file is as it was then."""
    path = folder / SIGNATURE_FILE
    if not path.is_file():
        sentence = (
            "Nobody has signed this folder. Hashes find accidents; only a signature finds forgery."
        )
        if public_key is not None:
            return Check(_CHECK, "red", f"{sentence} You expected one by {public_key.name}.")
        return Check(_CHECK, "amber", sentence)
    signer = _signer(path)
    if signer is None:
        return Check(_CHECK, "red", f"{SIGNATURE_FILE} is damaged: it names no key.")
    if public_key is None:
        return Check(
            _CHECK,
            "amber",
            f"The key {signer[:_SHOWN]} signed this folder. Without its public key, got from"
            " somebody you trust, that proves nothing: --key PUBLIC_KEY checks it.",
        )
    return _verified(folder, path, public_key, signer)


def _verified(folder: Path, signature: Path, public_key: Path, signer: str) -> Check:
    _check_library()
    expected = _fingerprint_of(public_key)
    if signer != expected:
        return Check(
            _CHECK,
            "red",
            f"Another key signed this folder: {signer[:_SHOWN]}, while {public_key.name} is"
            f" {expected[:_SHOWN]}.",
        )
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    try:
        verifying.Config().use_elliptic_key_verifier(public_key=public_key).verify(
            folder, signature
        )
    except InvalidSignature:
        return Check(
            _CHECK, "red", f"{SIGNATURE_FILE} was not made with the key {public_key.name}."
        )
    except (ValueError, TypeError, KeyError, IndexError, OSError) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        return Check(_CHECK, "red", f"The signature does not fit the files: {reason}")
    return Check(
        _CHECK, "green", f"{public_key.name} ({expected[:_SHOWN]}) signed exactly these files."
    )


def _signer(signature: Path) -> str | None:
    """The fingerprint of the key that the signature says it was made with."""
    try:
        bundle = foreign_json.read_object(signature, lenient=True)
        return str(bundle["verificationMaterial"]["publicKey"]["hint"])
    except (Damaged, KeyError, TypeError):
        return None


def _public_key(key: Path, password: str) -> str:
    """The public half of a private key, as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    with _readable(key):
        private = serialization.load_pem_private_key(
            key.read_bytes(), password.encode() if password else None
        )
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise LuthierError(
            "Wrong kind of key",
            f"{key} is not an elliptic-curve key, and model-signing takes no other.",
            _NEW_KEY,
        )
    return (
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def _fingerprint_of(public_key: Path) -> str:
    import hashlib

    from cryptography.hazmat.primitives import serialization

    with _readable(public_key):
        loaded = serialization.load_pem_public_key(public_key.read_bytes())
    written = loaded.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(written).hexdigest()


@contextmanager
def _readable(key: Path) -> Iterator[None]:
    """What can be wrong with the file of a key, in words."""
    try:
        yield
    except OSError as error:
        raise LuthierError(
            "Key not readable", f"{key}: {error.strerror or error}.", "Check the path."
        ) from error
    except TypeError as error:
        raise LuthierError(
            "The key needs its password",
            f"{key} and the password do not go together: {error}",
            f"{PASSWORD_VARIABLE} holds the password of a protected key.",
        ) from error
    except ValueError as error:
        raise LuthierError(
            "Not a usable key",
            f"{key} is not a PEM file of the expected kind, or its password is wrong.",
            f"Signing takes a private key, checking a public one. {_NEW_KEY}",
        ) from error


def _check_library() -> None:
    try:
        import model_signing  # noqa: F401
    except ImportError as error:
        raise LuthierError(
            "model-signing is not installed",
            "Signatures need OpenSSF's model-signing, which Luthier installs only when asked.",
            f"`{further_packages(*_PACKAGES)}`, then repeat the command.",
        ) from error
