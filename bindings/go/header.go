package atrest

// #include <stdlib.h>
// #include <atrest.h>
import "C"

import "unsafe"

// BackupHeader reads the header of a volume in a file or on a block device, with its keyslots. RestoreHeader and `cryptsetup
// luksHeaderRestore` take these bytes. A backup opens the volume by what opened it when it was made, also if that was removed since:
// protect it like the disk. No key is needed. The volume must not be open.
func BackupHeader(path string) ([]byte, error) {
	var backup []byte
	err := withDevice(path, C.ATREST_DEVICE_READ_ONLY, func(device *C.atrest_device) error {
		var header *C.atrest_header
		if err := call(func() C.atrest_status { return C.atrest_header_load(device, &header) }); err != nil {
			return err
		}
		defer C.atrest_header_free(header)
		var size C.uint64_t
		if err := call(func() C.atrest_status { return C.atrest_header_size(header, &size) }); err != nil {
			return err
		}
		backup = make([]byte, size)
		var length C.size_t
		err := call(func() C.atrest_status {
			return C.atrest_header_backup(header, unsafe.Pointer(&backup[0]), C.size_t(len(backup)), &length)
		})
		backup = backup[:length]
		return err
	})
	if err != nil {
		return nil, err
	}
	return backup, nil
}

// RestoreHeader writes a backup over the header of its volume, which must not be open. The backup of another volume is refused with
// OtherHeader. No data is touched. If it is killed, repeat it.
func RestoreHeader(path string, backup []byte) error {
	return withDevice(path, 0, func(device *C.atrest_device) error {
		return call(func() C.atrest_status {
			bytes := some(backup)
			return C.atrest_header_restore(device, unsafe.Pointer(&bytes[0]), C.size_t(len(backup)))
		})
	})
}

// HazmatRestoreHeader writes a backup to the start of a device over any content: a damaged header, another volume's, data.
func HazmatRestoreHeader(path string, backup []byte) error {
	return withDevice(path, 0, func(device *C.atrest_device) error {
		return call(func() C.atrest_status {
			bytes := some(backup)
			return C.atrest_hazmat_header_restore(device, unsafe.Pointer(&bytes[0]), C.size_t(len(backup)))
		})
	})
}

func withDevice(path string, flags C.uint32_t, function func(*C.atrest_device) error) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var device *C.atrest_device
	if err := call(func() C.atrest_status { return C.atrest_device_open_file(name, flags, &device) }); err != nil {
		return err
	}
	defer C.atrest_device_free(device)
	return function(device)
}
