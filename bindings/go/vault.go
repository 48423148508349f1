package atrest

// #include <stdlib.h>
// #include <string.h>
// #include <atrest.h>
// #include "secret.h"
//
// // The _INIT macros are C's alone.
// static atrest_unlock go_unlock(go_secret by) {
//     atrest_unlock unlock = ATREST_UNLOCK_INIT;
//     unlock.passphrase = by.passphrase;
//     unlock.passphrase_len = by.len;
//     unlock.key_file = by.key_file;
//     return unlock;
// }
// static atrest_status go_create_vault(const char *path, go_secret by, atrest_vault **vault) {
//     atrest_unlock unlock = go_unlock(by);
//     return atrest_vault_create_file(path, &unlock, vault);
// }
// static atrest_status go_open_vault(const char *path, go_secret by, atrest_vault **vault) {
//     atrest_unlock unlock = go_unlock(by);
//     return atrest_vault_open_file(path, &unlock, vault);
// }
import "C"

import (
	"runtime"
	"sync"
	"unsafe"
)

// A Secret is a passphrase, or a file whose whole content is one: one of the two. Go can't wipe a string, so the passphrase is
// bytes, which the caller may overwrite after the call.
type Secret struct {
	Passphrase []byte
	KeyFile    string
}

// inC lends a secret to a function, in C's memory, and wipes it there.
func (secret Secret) inC(function func(C.go_secret) error) error {
	var by C.go_secret
	if secret.KeyFile != "" {
		by.key_file = C.CString(secret.KeyFile)
		defer C.free(unsafe.Pointer(by.key_file))
	}
	if secret.Passphrase != nil {
		passphrase := C.CBytes(secret.Passphrase)
		defer C.free(passphrase)
		defer C.memset(passphrase, 0, C.size_t(len(secret.Passphrase)))
		by.passphrase, by.len = passphrase, C.size_t(len(secret.Passphrase))
	}
	return function(by)
}

// A Vault holds the keys under which volumes' keys are wrapped. Any number of goroutines may use it at once.
type Vault struct {
	lock   sync.RWMutex // held alone to close it
	handle *C.atrest_vault
}

func newVault(open func(**C.atrest_vault) C.atrest_status) (*Vault, error) {
	vault := new(Vault)
	if err := call(func() C.atrest_status { return open(&vault.handle) }); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(vault, func(vault *Vault) { vault.Close() })
	return vault, nil
}

// CreateVault makes a vault in a new file.
func CreateVault(path string, unlock Secret) (*Vault, error) {
	return fileVault(path, unlock, true)
}

// OpenVault opens a vault in a file.
func OpenVault(path string, unlock Secret) (*Vault, error) {
	return fileVault(path, unlock, false)
}

func fileVault(path string, unlock Secret, create bool) (vault *Vault, err error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	err = unlock.inC(func(by C.go_secret) error {
		vault, err = newVault(func(handle **C.atrest_vault) C.atrest_status {
			if create {
				return C.go_create_vault(name, by, handle)
			}
			return C.go_open_vault(name, by, handle)
		})
		return err
	})
	return vault, err
}

// OpenVaultURL opens a vault by its URL, such as file:/etc/disks.vault?key-file=/etc/disks.key.
func OpenVaultURL(url string) (*Vault, error) {
	name := C.CString(url)
	defer C.free(unsafe.Pointer(name))
	return newVault(func(handle **C.atrest_vault) C.atrest_status {
		return C.atrest_vault_open_url(name, nil, handle)
	})
}

// use lends the handle, which isn't freed meanwhile.
func (vault *Vault) use(function func(*C.atrest_vault) C.atrest_status) error {
	vault.lock.RLock()
	defer vault.lock.RUnlock()
	if vault.handle == nil {
		return ErrClosed
	}
	return call(func() C.atrest_status { return function(vault.handle) })
}

// CreateKey makes a key.
func (vault *Vault) CreateKey(name string) error {
	key := C.CString(name)
	defer C.free(unsafe.Pointer(key))
	return vault.use(func(handle *C.atrest_vault) C.atrest_status {
		return C.atrest_vault_create_key(handle, key, nil, 0)
	})
}

// RotateKey gives a key a new version, which wraps from now on.
func (vault *Vault) RotateKey(name string) error {
	key := C.CString(name)
	defer C.free(unsafe.Pointer(key))
	return vault.use(func(handle *C.atrest_vault) C.atrest_status {
		return C.atrest_vault_rotate_key(handle, key, nil, 0)
	})
}

// Close frees the vault, once calls in other goroutines have returned. Volumes that it opened stay open.
func (vault *Vault) Close() error {
	vault.lock.Lock()
	defer vault.lock.Unlock()
	C.atrest_vault_free(vault.handle)
	vault.handle = nil
	runtime.SetFinalizer(vault, nil)
	return nil
}
