"""Opens a device in the number format of the hardware model that it is compared with, or says which to use."""

from __future__ import annotations

from evaluators.devices.address import Address
from evaluators.devices.catalog import open_device
from evaluators.devices.device import AddressError, Device
from hardware_models.catalog import rows_by_number_format
from hardware_models.device_file.number_format import BYTES_PER_ELEMENT

_OPTION = "precision"


class NumberFormatError(ValueError):
    """A device that runs another number format than the hardware model prices."""


def open_in_format(device: str | Device, required_format: str | None, model: str = "") -> Device:
    """The device, opened in the number format ``required_format`` if its address does not state one.

    ``required_format`` is that of the hardware model called ``model``, or the user's choice; ``None``, where
    neither states one, accepts any. int8 never substitutes for a float nor a float for int8. Of two
    floats the device must run the required one if it can; a runtime without it may still compute in it, as a phone's
    GPU runs float32 files in float16. Raises ``NumberFormatError``, and ``AddressError`` and ``UnknownName`` as
    ``open_device``.
    """
    opened_device = open_device(device) if isinstance(device, str) else device
    device_format = opened_device.precision
    if required_format is None or device_format == required_format or device_format not in BYTES_PER_ELEMENT:
        return opened_device
    corrected_address = _address_in_format(device, required_format) if isinstance(device, str) else None
    if corrected_address is not None and not _states_format(str(device)):
        opened_device.close()
        return open_device(corrected_address)
    if corrected_address is None and "int8" not in (device_format, required_format):
        return opened_device
    where = device if isinstance(device, str) else opened_device.name
    opened_device.close()
    advice = (
        f"--device {corrected_address}" if corrected_address is not None else f"a device that runs {required_format}"
    )
    other_model = rows_by_number_format(model).get(device_format) if model else None
    advice += f", or --hw {other_model}" if other_model is not None else ""
    reason = f"{model} is a model of {required_format}" if model else f"{required_format} is required"
    raise NumberFormatError(f"{where} runs {device_format}, but {reason}; write {advice}")


def _states_format(address: str) -> bool:
    return bool(Address(address).text_option(_OPTION))


def _address_in_format(address: str, required_format: str) -> str | None:
    """The address with another number format; ``None`` where the device does not have that."""
    head, _, query = address.partition("?")
    options = [o for o in query.split("&") if o and o.partition("=")[0] != _OPTION]
    corrected_address = f"{head}?{'&'.join([*options, f'{_OPTION}={required_format}'])}"
    try:
        candidate_device = open_device(corrected_address)
    except AddressError:
        return None
    candidate_device.close()
    return corrected_address if candidate_device.precision == required_format else None
