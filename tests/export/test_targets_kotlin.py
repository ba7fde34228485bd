"""The Kotlin that `package` writes, compiled and run: with classes of ONNX Runtime's names that play a codec.

Its real ones come from a registry that tests do not ask; the stubs' signatures are those of its Java sources, and a
closed tensor of theirs has no values either.
"""

import os
import subprocess
from pathlib import Path

import pytest
from matrix.environments import need, run
from readmes import code_blocks

from latentwire.export.targets import package_bundle

pytestmark = pytest.mark.slow

KOTLIN = Path(__file__).parent / "kotlin"
MAIN = """
fun main() {
    val assets = android.content.res.AssetManager()
    EXAMPLE
    val again = codec.decode(codec.encode(items, 0))
    println(again.bytes.toList())
    println(again.shape.toList())
    for (status in listOf(7, 99)) try {
        codec.decode(byteArrayOf(status.toByte(), 1, 2))
    } catch (error: PacketException) {
        println("${error.status} ${error.fault} ${error.message}")
    }
}
"""


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Compiled stubs, and Kotlin's own library; the compiler comes from npm."""
    need("npm", "java", "javac", "bash")
    if not (KOTLIN / "node_modules/.package-lock.json").exists():
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=KOTLIN)
    stubs = tmp_path_factory.mktemp("stubs")
    subprocess.run(["javac", "-d", stubs, *sorted((KOTLIN / "stubs").rglob("*.java"))], check=True)
    return [stubs, KOTLIN / "node_modules/kotlin-compiler/lib/kotlin-stdlib.jar"]


def test_decode_returns_a_shape_and_throws_what_a_status_means(bundle, classpath, tmp_path):
    (packaged,) = package_bundle(bundle, tmp_path / "apps", ["android"])
    gradle, code, example, _ = code_blocks(packaged.path, "kotlin")
    assert ":onnxruntime-android:1." in gradle
    # The README's example names a shape and a quality of the real codec; the played one refuses all but quality 0.
    example = "\n    ".join(example.replace(", 128)", ", 0)").splitlines())
    source = tmp_path / "App.kt"
    source.write_text(code + MAIN.replace("EXAMPLE", example))
    (tmp_path / "app").mkdir()
    path = os.pathsep.join(map(str, [*classpath, tmp_path / "app"]))
    compiler = KOTLIN / "node_modules/kotlin-compiler/bin/kotlinc"
    subprocess.run(["bash", compiler, "-Werror", "-cp", path, "-d", tmp_path / "app", source], check=True)
    said = subprocess.run(["java", "-cp", path, "AppKt"], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == [
        "[10, 11, 12, 13, 14, 15]",
        "[2, 3, 1]",
        "7 CHECKSUM status 7: expected the checksum in the packet, found another: ask for it again",
        "99 null status 99: a status that is newer than this code: package the codec anew",
    ]
