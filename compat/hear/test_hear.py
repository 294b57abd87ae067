import subprocess
import sys


def test_validator(checkpoint, record_property):
    """The official `hear-validator uniwhisper.integrations.hear`"""
    command = [sys.executable, "-m", "hearvalidator.validate", "uniwhisper.integrations.hear", "--model", checkpoint]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True)
    record_property("its last line", done.stdout.strip().splitlines()[-1].strip(" -"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Looks good" in done.stdout
