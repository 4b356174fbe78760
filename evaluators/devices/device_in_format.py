"""A device opened in the number format of the hardware model that it is measured for, or an error that says which."""

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
    """The device, opened in the number format ``required_format`` where its address leaves that open.

    ``required_format`` is that of the hardware model called ``model``, or what a person asked for; ``None``, where neither says,
    asks nothing of the device. int8 never stands for a float nor a float for int8. Of two floats the device must run
    the wanted one where it can; a runtime without it may compute in it all the same, as a phone's GPU runs float32
    files in float16. Raises ``NumberFormatError``, and ``AddressError`` and ``UnknownName`` as ``open_device``.
    """
    opened = open_device(device) if isinstance(device, str) else device
    device_format = opened.precision
    if required_format is None or device_format == required_format or device_format not in BYTES_PER_ELEMENT:
        return opened
    corrected_address = _address_in_format(device, required_format) if isinstance(device, str) else None
    if corrected_address is not None and not _states_format(str(device)):
        opened.close()
        return open_device(corrected_address)
    if corrected_address is None and "int8" not in (device_format, required_format):
        return opened
    where = device if isinstance(device, str) else opened.name
    opened.close()
    advice = (
        f"--device {corrected_address}" if corrected_address is not None else f"a device that runs {required_format}"
    )
    other = rows_by_number_format(model).get(device_format) if model else None
    advice += f", or --hw {other}" if other is not None else ""
    reason = f"{model} is a model of {required_format}" if model else f"{required_format} is asked for"
    raise NumberFormatError(f"{where} runs {device_format}, but {reason}; write {advice}")


def _states_format(address: str) -> bool:
    return bool(Address(address).text_option(_OPTION))


def _address_in_format(address: str, required_format: str) -> str | None:
    """The address with another number format; ``None`` where the device does not have that."""
    head, _, query = address.partition("?")
    options = [o for o in query.split("&") if o and o.partition("=")[0] != _OPTION]
    corrected_address = f"{head}?{'&'.join([*options, f'{_OPTION}={required_format}'])}"
    try:
        opened = open_device(corrected_address)
    except AddressError:
        return None
    opened.close()
    return corrected_address if opened.precision == required_format else None
