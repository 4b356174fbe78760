"""A device opened in the number format of the hardware model that it is measured for, or an error that says which."""

from __future__ import annotations

from evaluators.devices.address import Address
from evaluators.devices.catalog import open_device
from evaluators.devices.device import AddressError, Device
from hardware_models.catalog import formats_of
from hardware_models.device_file.number_format import BYTES

_OPTION = "precision"


class NumberFormatError(ValueError):
    """A device that runs another number format than the hardware model prices."""


def opened_in(device: str | Device, wanted: str | None, model: str = "") -> Device:
    """The device, opened in the number format ``wanted`` where its address leaves that open.

    ``wanted`` is that of the hardware model called ``model``, or what a person asked for; ``None``, where neither says,
    asks nothing of the device. int8 never stands for a float nor a float for int8. Of two floats the device must run
    the wanted one where it can; a runtime without it may compute in it all the same, as a phone's GPU runs float32
    files in float16. Raises ``NumberFormatError``, and ``AddressError`` and ``UnknownName`` as ``open_device``.
    """
    opened = open_device(device) if isinstance(device, str) else device
    has = opened.precision
    if wanted is None or has == wanted or has not in BYTES:
        return opened
    mended = _in_format(device, wanted) if isinstance(device, str) else None
    if mended is not None and not _states_format(str(device)):
        opened.close()
        return open_device(mended)
    if mended is None and "int8" not in (has, wanted):
        return opened
    where = device if isinstance(device, str) else opened.name
    opened.close()
    advice = f"--device {mended}" if mended is not None else f"a device that runs {wanted}"
    other = formats_of(model).get(has) if model else None
    advice += f", or --hw {other}" if other is not None else ""
    asked = f"{model} is a model of {wanted}" if model else f"{wanted} is asked for"
    raise NumberFormatError(f"{where} runs {has}, but {asked}; write {advice}")


def _states_format(address: str) -> bool:
    return bool(Address(address).text_option(_OPTION))


def _in_format(address: str, wanted: str) -> str | None:
    """The address with another number format; ``None`` where the device does not have that."""
    head, _, query = address.partition("?")
    options = [o for o in query.split("&") if o and o.partition("=")[0] != _OPTION]
    mended = f"{head}?{'&'.join([*options, f'{_OPTION}={wanted}'])}"
    try:
        opened = open_device(mended)
    except AddressError:
        return None
    opened.close()
    return mended if opened.precision == wanted else None
