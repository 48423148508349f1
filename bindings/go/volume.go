package atrest

// #include <stdlib.h>
// #include <atrest.h>
// #include "secret.h"
//
// static atrest_status go_format(atrest_device *device, go_way by, uint32_t sector_size, const void *context,
//     size_t context_len, int bound, atrest_volume **volume) {
//     atrest_protector protector = go_protector(by);
//     atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
//     options.sector_size = sector_size;
//     options.context = bound ? context : NULL;
//     options.context_len = context_len;
//     return atrest_volume_format(device, &protector, &options, volume);
// }
// static atrest_status go_open(atrest_device *device, go_way by, uint32_t flags, const void *context, size_t context_len,
//     int bound, atrest_volume **volume) {
//     atrest_credential credential = go_credential(by);
//     atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
//     options.flags = flags;
//     options.context = bound ? context : NULL;
//     options.context_len = context_len;
//     return atrest_volume_open(device, &credential, &options, volume);
// }
// static atrest_status go_add(atrest_volume *volume, go_way by, uint32_t *id) {
//     atrest_protector protector = go_protector(by);
//     return atrest_volume_add_protector(volume, &protector, NULL, id);
// }
import "C"

import (
	"errors"
	"runtime"
	"sync"
	"unsafe"
)

// A Way opens a volume: a vault, or else a passphrase or key file. As a protector, a vault comes with the name of its key.
type Way struct {
	Vault *Vault
	Key   string
	Secret
}

var errWay = errors.New("atrest: a way names a vault, a passphrase or a key file, and one of them only")

// inC lends a way to a function, in C's memory.
func (way Way) inC(function func(C.go_way) error) error {
	return way.inCWith(map[*Vault]bool{}, function)
}

// inCWith does so within calls that hold some vaults. One is locked once only: the second time would wait for a Close that waits for
// the first.
func (way Way) inCWith(held map[*Vault]bool, function func(C.go_way) error) error {
	if given := btoi(way.Vault != nil) + btoi(way.Passphrase != nil) + btoi(way.KeyFile != ""); given != 1 {
		return errWay
	}
	return way.Secret.inC(func(secret C.go_secret) error {
		by := C.go_way{passphrase: secret.passphrase, len: secret.len, key_file: secret.key_file}
		if way.Vault == nil {
			return function(by)
		}
		by.key = C.CString(way.Key)
		defer C.free(unsafe.Pointer(by.key))
		if !held[way.Vault] {
			way.Vault.lock.RLock()
			defer way.Vault.lock.RUnlock()
			held[way.Vault] = true
			defer delete(held, way.Vault)
		}
		if by.vault = way.Vault.handle; by.vault == nil {
			return ErrClosed
		}
		return function(by)
	})
}

func btoi(is bool) int {
	if is {
		return 1
	}
	return 0
}

// FormatOptions are those of a new volume; their zero values are right for most.
type FormatOptions struct {
	SectorSize uint32 // in bytes: 512, the default, to 4096
	Context    []byte // what the volume is bound to, such as a disk's id: stored in the clear
}

// OpenOptions are those for opening a volume.
type OpenOptions struct {
	ReadOnly bool
	Context  []byte // if not nil, the context that the volume must be bound to
	// Opens a volume whose encryption or decryption in place isn't finished: a part of its data is plain. Whoever could write to the
	// disk can make any volume look so, and read what is written to it from then on.
	HazmatAllowUnencrypted bool
}

// A Volume is an encrypted device: LUKS2, as cryptsetup makes and opens it. It reads and writes at any byte, and any number of
// goroutines may use it at once.
type Volume struct {
	lock   sync.RWMutex // held alone to close it
	handle *C.atrest_volume
	data   anyByte
}

// Format makes a volume in a new file of a size in bytes. Its header takes 16 MiB of them.
func Format(path string, size uint64, protector Way, options FormatOptions) (*Volume, error) {
	return newVolume(path, protector, func(name *C.char, device **C.atrest_device) C.atrest_status {
		return C.atrest_device_create_file(name, C.uint64_t(size), device)
	}, func(device *C.atrest_device, by C.go_way, handle **C.atrest_volume) C.atrest_status {
		context := some(options.Context)
		return C.go_format(device, by, C.uint32_t(options.SectorSize), unsafe.Pointer(&context[0]), C.size_t(len(options.Context)),
			C.int(btoi(options.Context != nil)), handle)
	})
}

// Open opens a volume in a file or on a block device.
func Open(path string, credential Way, options OpenOptions) (*Volume, error) {
	var onDevice, onOpen C.uint32_t
	if options.ReadOnly {
		onDevice, onOpen = C.ATREST_DEVICE_READ_ONLY, C.ATREST_OPEN_READ_ONLY
	}
	if options.HazmatAllowUnencrypted {
		onOpen |= C.ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED
	}
	return newVolume(path, credential, func(name *C.char, device **C.atrest_device) C.atrest_status {
		return C.atrest_device_open_file(name, onDevice, device)
	}, func(device *C.atrest_device, by C.go_way, handle **C.atrest_volume) C.atrest_status {
		context := some(options.Context)
		return C.go_open(device, by, onOpen, unsafe.Pointer(&context[0]), C.size_t(len(options.Context)),
			C.int(btoi(options.Context != nil)), handle)
	})
}

func newVolume(path string, way Way, open func(*C.char, **C.atrest_device) C.atrest_status,
	make func(*C.atrest_device, C.go_way, **C.atrest_volume) C.atrest_status) (*Volume, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	volume := new(Volume)
	err := way.inC(func(by C.go_way) error {
		// The volume keeps what it needs of the device. Freeing nil does nothing.
		var device *C.atrest_device
		defer func() { C.atrest_device_free(device) }()
		if err := call(func() C.atrest_status { return open(name, &device) }); err != nil {
			return err
		}
		return call(func() C.atrest_status { return make(device, by, &volume.handle) })
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(volume, func(volume *Volume) { volume.free() })
	var size C.uint64_t
	var unit C.uint32_t
	err = call(func() C.atrest_status { return C.atrest_volume_size(volume.handle, &size) })
	if err == nil {
		err = call(func() C.atrest_status { return C.atrest_volume_sector_size(volume.handle, &unit) })
	}
	if err != nil {
		return nil, err
	}
	volume.data = anyByte{unit: int64(unit), size: int64(size)}
	return volume, nil
}

// some is a slice of which the first byte has an address, also if it has none. The address is taken in the call of C: only there does
// cgo know that it is one of bytes, and doesn't look for pointers of Go in what lies around them.
func some(slice []byte) []byte {
	if len(slice) == 0 {
		return none[:]
	}
	return slice
}

var none [1]byte

// use lends the handle, which isn't freed meanwhile.
func (volume *Volume) use(function func(*C.atrest_volume) C.atrest_status) error {
	volume.lock.RLock()
	defer volume.lock.RUnlock()
	if volume.handle == nil {
		return ErrClosed
	}
	return call(func() C.atrest_status { return function(volume.handle) })
}

// Size is the size of the data in bytes.
func (volume *Volume) Size() int64 { return volume.data.size }

// SectorSize is the size of a sector in bytes. Reads and writes of whole sectors are the fastest.
func (volume *Volume) SectorSize() int {
	volume.data.layout.RLock()
	defer volume.data.layout.RUnlock()
	return int(volume.data.unit)
}

// Fingerprint identifies the volume's key, and tells nothing of it. Keep it apart from the disk: a volume that somebody put in its
// place has another one.
func (volume *Volume) Fingerprint() (Fingerprint, error) {
	var fingerprint Fingerprint
	err := volume.use(func(handle *C.atrest_volume) C.atrest_status {
		return C.atrest_volume_fingerprint(handle, (*C.uint8_t)(&fingerprint[0]))
	})
	return fingerprint, err
}

// Sync returns when all that was written is on stable storage.
func (volume *Volume) Sync() error {
	return volume.use(func(handle *C.atrest_volume) C.atrest_status { return C.atrest_volume_sync(handle) })
}

// RotateKEK has the vault wrap the volume's key again, under the latest version of the key that wraps it now. No sector is
// touched.
func (volume *Volume) RotateKEK(vault *Vault) error {
	vault.lock.RLock()
	defer vault.lock.RUnlock()
	if vault.handle == nil {
		return ErrClosed
	}
	return volume.use(func(handle *C.atrest_volume) C.atrest_status {
		return C.atrest_volume_rotate_kek(handle, vault.handle, nil, 0)
	})
}

// AddProtector adds another way into the volume, and returns the number of its keyslot or token.
func (volume *Volume) AddProtector(protector Way) (uint32, error) {
	var id C.uint32_t
	err := protector.inC(func(by C.go_way) error {
		return volume.use(func(handle *C.atrest_volume) C.atrest_status { return C.go_add(handle, by, &id) })
	})
	return uint32(id), err
}

// RemoveKeyslot removes a passphrase or key file.
func (volume *Volume) RemoveKeyslot(id uint32) error {
	return volume.use(func(handle *C.atrest_volume) C.atrest_status {
		return C.atrest_volume_remove_keyslot(handle, C.uint32_t(id))
	})
}

// Close syncs the volume and frees it, once calls in other goroutines have returned. A second time it returns ErrClosed.
func (volume *Volume) Close() error {
	err := volume.Sync()
	if errors.Is(err, ReadOnly) {
		err = nil
	}
	volume.free()
	return err
}

func (volume *Volume) free() {
	volume.lock.Lock()
	defer volume.lock.Unlock()
	C.atrest_volume_free(volume.handle)
	volume.handle = nil
	runtime.SetFinalizer(volume, nil)
}
