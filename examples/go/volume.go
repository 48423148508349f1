package main

// #include <stdlib.h>
// #include <string.h>
// #include <atrest.h>
//
// // The _INIT macros are C's alone.
// static atrest_status open_vault(const char *path, const char *passphrase, atrest_vault **vault) {
//     atrest_unlock unlock = ATREST_UNLOCK_INIT;
//     unlock.passphrase = passphrase;
//     unlock.passphrase_len = strlen(passphrase);
//     return atrest_vault_open_file(path, &unlock, vault);
// }
// static atrest_status open_volume(atrest_device *device, const atrest_vault *vault, atrest_volume **volume) {
//     atrest_credential credential = ATREST_CREDENTIAL_INIT;
//     atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
//     credential.kind = ATREST_CREDENTIAL_VAULT;
//     credential.vault = vault;
//     options.flags = ATREST_OPEN_READ_ONLY;
//     return atrest_volume_open(device, &credential, &options, volume);
// }
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

// call checks the status of a function. The message belongs to the thread, which a goroutine doesn't keep by itself.
func call(function func() C.atrest_status) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if status := function(); status != C.ATREST_OK {
		name, message := C.GoString(C.atrest_status_name(status)), C.GoString(C.atrest_last_error_message())
		return fmt.Errorf("%s: %s", name, message)
	}
	return nil
}

// A Volume is a volume that a vault opens, to be read. Any number of goroutines may read it at once, until it is closed.
type Volume struct{ handle *C.atrest_volume }

// Open opens the volume on disk by a vault file, and that by its passphrase.
func Open(disk, vault, passphrase string) (*Volume, error) {
	diskPath, vaultPath, secret := C.CString(disk), C.CString(vault), C.CString(passphrase)
	defer C.free(unsafe.Pointer(diskPath))
	defer C.free(unsafe.Pointer(vaultPath))
	defer C.free(unsafe.Pointer(secret))
	defer C.memset(unsafe.Pointer(secret), 0, C.size_t(len(passphrase))) // Go's own copy stays

	// The volume keeps what it needs of them. What wasn't opened is nil, and freeing nil does nothing.
	var keys *C.atrest_vault
	var device *C.atrest_device
	defer func() { C.atrest_vault_free(keys) }()
	defer func() { C.atrest_device_free(device) }()
	if err := call(func() C.atrest_status { return C.open_vault(vaultPath, secret, &keys) }); err != nil {
		return nil, err
	}
	if err := call(func() C.atrest_status {
		return C.atrest_device_open_file(diskPath, C.ATREST_DEVICE_READ_ONLY, &device)
	}); err != nil {
		return nil, err
	}
	volume := new(Volume)
	if err := call(func() C.atrest_status { return C.open_volume(device, keys, &volume.handle) }); err != nil {
		return nil, err
	}
	return volume, nil
}

// Close frees the volume.
func (volume *Volume) Close() {
	C.atrest_volume_free(volume.handle)
	volume.handle = nil
}

// Size is the size of the data in bytes.
func (volume *Volume) Size() (uint64, error) {
	var size C.uint64_t
	err := call(func() C.atrest_status { return C.atrest_volume_size(volume.handle, &size) })
	return uint64(size), err
}

// ReadAt fills sectors from offset, as io.ReaderAt has it. Both are in whole sectors.
func (volume *Volume) ReadAt(sectors []byte, offset int64) (int, error) {
	if len(sectors) == 0 {
		return 0, nil
	}
	err := call(func() C.atrest_status {
		return C.atrest_volume_read_at(volume.handle, C.uint64_t(offset), unsafe.Pointer(&sectors[0]),
			C.size_t(len(sectors)))
	})
	if err != nil {
		return 0, err
	}
	return len(sectors), nil
}
