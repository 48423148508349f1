package atrest

// #include <stdlib.h>
// #include <string.h>
// #include <atrest.h>
import "C"

import (
	"runtime"
	"sync"
	"unsafe"
)

// An Algorithm is what a data key is for.
type Algorithm uint32

// The algorithms of new keys; a sector cipher needs one of XTS. The header atrest.h has more, for old volumes.
const (
	AES128XTS = Algorithm(C.ATREST_AES_128_XTS)
	AES256XTS = Algorithm(C.ATREST_AES_256_XTS)
)

// A Fingerprint identifies a data key, and tells nothing of it.
type Fingerprint [C.ATREST_FINGERPRINT_SIZE]byte

// A Dek is a data key, in memory that is locked and left out of core dumps if the system allows it. Any number of goroutines
// may use it at once.
type Dek struct {
	lock   sync.RWMutex // held alone to close it
	handle *C.atrest_dek
}

func newDek(make func(**C.atrest_dek) C.atrest_status) (*Dek, error) {
	dek := new(Dek)
	if err := call(func() C.atrest_status { return make(&dek.handle) }); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(dek, func(dek *Dek) { dek.Close() })
	return dek, nil
}

// GenerateDek makes a random data key.
func GenerateDek(algorithm Algorithm) (*Dek, error) {
	return newDek(func(dek **C.atrest_dek) C.atrest_status {
		return C.atrest_dek_generate(C.uint32_t(algorithm), dek)
	})
}

// HazmatDekFromBytes makes a data key for XTS of 32 or 64 bytes of the caller's. It is weak if they aren't random, and if anything else
// is encrypted under them, which nothing finds out. Overwrite them after the call.
func HazmatDekFromBytes(key []byte) (*Dek, error) {
	return newDek(func(dek **C.atrest_dek) C.atrest_status {
		bytes := some(key)
		return C.atrest_hazmat_dek_from_bytes(unsafe.Pointer(&bytes[0]), C.size_t(len(key)), dek)
	})
}

// Unseal has a vault unwrap the data key of an envelope, which must be bound to this context.
func Unseal(vault *Vault, envelope, context []byte) (dek *Dek, err error) {
	vault.lock.RLock()
	defer vault.lock.RUnlock()
	if vault.handle == nil {
		return nil, ErrClosed
	}
	return newDek(func(dek **C.atrest_dek) C.atrest_status {
		sealed, bound := some(envelope), some(context)
		return C.atrest_envelope_unseal(vault.handle, unsafe.Pointer(&sealed[0]), C.size_t(len(envelope)), unsafe.Pointer(&bound[0]),
			C.size_t(len(context)), dek)
	})
}

// Seal has a vault wrap the data key under the latest version of a key, and gives the envelope: all that is needed to unwrap it, and no
// secret. The context says what the key is for, such as the id of a chunk; it is stored in the clear.
func (dek *Dek) Seal(vault *Vault, key string, context []byte) ([]byte, error) {
	name := C.CString(key)
	defer C.free(unsafe.Pointer(name))
	vault.lock.RLock()
	defer vault.lock.RUnlock()
	if vault.handle == nil {
		return nil, ErrClosed
	}
	envelope := make([]byte, C.ATREST_QUORUM_ENVELOPE_MAX)
	var length C.size_t
	err := dek.use(func(handle *C.atrest_dek) C.atrest_status {
		bound := some(context)
		return C.atrest_envelope_seal(handle, vault.handle, name, unsafe.Pointer(&bound[0]), C.size_t(len(context)),
			unsafe.Pointer(&envelope[0]), C.size_t(len(envelope)), &length)
	})
	if err != nil {
		return nil, err
	}
	return envelope[:length], nil
}

// EnvelopeKeyURL is the URL of the key version that wraps an envelope's data key, which says whose vault to ask. It isn't proven before
// the key is unwrapped.
func EnvelopeKeyURL(envelope []byte) (string, error) {
	url := make([]byte, C.ATREST_KEY_URL_SIZE)
	err := call(func() C.atrest_status {
		sealed := some(envelope)
		return C.atrest_envelope_key_url(unsafe.Pointer(&sealed[0]), C.size_t(len(envelope)), (*C.char)(unsafe.Pointer(&url[0])), C.size_t(len(url)), nil)
	})
	if err != nil {
		return "", err
	}
	return C.GoString((*C.char)(unsafe.Pointer(&url[0]))), nil
}

// Fingerprint identifies the key. Keep it where nobody changes it, and compare: whoever may wrap keys for your vault can make an envelope
// that it opens, and put it in the place of yours.
func (dek *Dek) Fingerprint() (Fingerprint, error) {
	var fingerprint Fingerprint
	err := dek.use(func(handle *C.atrest_dek) C.atrest_status {
		return C.atrest_dek_fingerprint(handle, (*C.uint8_t)(&fingerprint[0]))
	})
	return fingerprint, err
}

// use lends the handle, which isn't freed meanwhile.
func (dek *Dek) use(function func(*C.atrest_dek) C.atrest_status) error {
	dek.lock.RLock()
	defer dek.lock.RUnlock()
	if dek.handle == nil {
		return ErrClosed
	}
	return call(func() C.atrest_status { return function(dek.handle) })
}

// Close wipes and frees the key. Ciphers that were made of it stay.
func (dek *Dek) Close() error {
	dek.lock.Lock()
	defer dek.lock.Unlock()
	C.atrest_dek_free(dek.handle)
	dek.handle = nil
	runtime.SetFinalizer(dek, nil)
	return nil
}
