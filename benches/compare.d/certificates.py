"""A CA and a certificate for the proxies: ECDSA on P-256 for all of them."""

import pathlib
import subprocess

from checks import Failed

SERVER = "bench.test"
EXTENSIONS = f"""\
basicConstraints = critical, CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:{SERVER}, DNS:localhost, IP:127.0.0.1
"""
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def make(openssl, folder):
    """Puts ca.pem, bench.pem, bench.key, and both of the latter as HAProxy wants them, into this folder."""
    (folder / "bench.ext").write_text(EXTENSIONS)
    steps = (
        ["req", "-x509", *NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench CA", "-days", "2"],
        ["req", *NEW_KEY, "-keyout", "bench.key", "-out", "bench.csr", "-subj", f"/CN={SERVER}"],
        ["x509", "-req", "-in", "bench.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-extfile", "bench.ext", "-out", "bench.pem"],
    )
    for step in steps:
        done = subprocess.run([openssl, *step], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Failed(f"openssl {step[0]} made no certificate:\n{done.stdout}")
    both = folder / "bench-both.pem"
    both.write_text((folder / "bench.pem").read_text() + (folder / "bench.key").read_text())
    for path in (folder / "bench.key", both):
        # nginx and HAProxy may read it as root or not; the folder and its keys live for one run.
        path.chmod(0o600)
    return pathlib.Path(folder / "ca.pem")
