"""Files of tensors with a header."""

import torch

from locreg.regularizer.tensor_file import read_tensors, write_tensors


def test_any_first_byte_of_a_valid_header_is_accepted(tmp_path):
    """The header's length is the first byte; it may look like that of a pickle."""
    seen = set()
    for length in range(256):
        path = tmp_path / "w.safetensors"
        write_tensors(path, {"pad": "x" * length}, {"a": torch.zeros(1)})
        seen.add(path.read_bytes()[0])
        read_tensors(path)
    assert 0x80 in seen
