package atrest

// #include <atrest.h>
import "C"

import (
	"io"
	"math"
	"runtime"
	"sync"
	"unsafe"
)

// A SectorUnit says what sector numbers count.
type SectorUnit uint32

const (
	// Unit512 counts 512 bytes for any sector size, as LUKS and dm-crypt do: sectors of 4096 bytes have the numbers 0, 8, 16.
	Unit512 = SectorUnit(C.ATREST_UNIT_512)
	// UnitSector counts sectors or pages: 0, 1, 2 for any size.
	UnitSector = SectorUnit(C.ATREST_UNIT_SECTOR)
)

// A SectorCipher encrypts sectors by XTS-AES, for engines that read and write themselves. Any number of goroutines may use it at once. It
// detects no changes.
type SectorCipher struct {
	lock   sync.RWMutex // held alone to close it
	handle *C.atrest_sector_cipher
	size   int64
	unit   SectorUnit
}

// SectorCipher expands the key for sectors of a size in bytes, 512 to 65,536.
func (dek *Dek) SectorCipher(sectorSize uint32, unit SectorUnit) (*SectorCipher, error) {
	cipher := &SectorCipher{size: int64(sectorSize), unit: unit}
	err := dek.use(func(handle *C.atrest_dek) C.atrest_status {
		return C.atrest_sector_cipher_new(handle, C.uint32_t(sectorSize), C.uint32_t(unit), &cipher.handle)
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(cipher, func(cipher *SectorCipher) { cipher.Close() })
	return cipher, nil
}

// Encrypt encrypts whole sectors in place; first is the number of the first one. If it fails, nothing has changed.
func (cipher *SectorCipher) Encrypt(first uint64, sectors []byte) error {
	return cipher.use(func(handle *C.atrest_sector_cipher) C.atrest_status {
		bytes := some(sectors)
		return C.atrest_sector_cipher_encrypt(handle, C.uint64_t(first), unsafe.Pointer(&bytes[0]), C.size_t(len(sectors)))
	})
}

// Decrypt decrypts sectors in place.
func (cipher *SectorCipher) Decrypt(first uint64, sectors []byte) error {
	return cipher.use(func(handle *C.atrest_sector_cipher) C.atrest_status {
		bytes := some(sectors)
		return C.atrest_sector_cipher_decrypt(handle, C.uint64_t(first), unsafe.Pointer(&bytes[0]), C.size_t(len(sectors)))
	})
}

// EncryptTo encrypts src to the start of dst. They are the same slice, or do not overlap. It panics if dst is shorter, as crypto/cipher does.
func (cipher *SectorCipher) EncryptTo(first uint64, dst, src []byte) error {
	dst = dst[:len(src)]
	return cipher.use(func(handle *C.atrest_sector_cipher) C.atrest_status {
		from, to := some(src), some(dst)
		return C.atrest_sector_cipher_encrypt_to(handle, C.uint64_t(first), unsafe.Pointer(&from[0]), unsafe.Pointer(&to[0]),
			C.size_t(len(src)))
	})
}

// DecryptTo decrypts src to the start of dst, as EncryptTo encrypts.
func (cipher *SectorCipher) DecryptTo(first uint64, dst, src []byte) error {
	dst = dst[:len(src)]
	return cipher.use(func(handle *C.atrest_sector_cipher) C.atrest_status {
		from, to := some(src), some(dst)
		return C.atrest_sector_cipher_decrypt_to(handle, C.uint64_t(first), unsafe.Pointer(&from[0]), unsafe.Pointer(&to[0]),
			C.size_t(len(src)))
	})
}

// EncryptUnit encrypts one data unit of 16 bytes to 16 MiB in place, under a tweak: its number, as 16 bytes in little-endian order.
// Never use a tweak for two data units under one key.
func (cipher *SectorCipher) EncryptUnit(tweak [16]byte, unit []byte) error {
	return cipher.use(func(handle *C.atrest_sector_cipher) C.atrest_status {
		bytes := some(unit)
		return C.atrest_sector_cipher_encrypt_unit(handle, (*C.uint8_t)(&tweak[0]), unsafe.Pointer(&bytes[0]), C.size_t(len(unit)))
	})
}

// DecryptUnit decrypts a data unit in place.
func (cipher *SectorCipher) DecryptUnit(tweak [16]byte, unit []byte) error {
	return cipher.use(func(handle *C.atrest_sector_cipher) C.atrest_status {
		bytes := some(unit)
		return C.atrest_sector_cipher_decrypt_unit(handle, (*C.uint8_t)(&tweak[0]), unsafe.Pointer(&bytes[0]), C.size_t(len(unit)))
	})
}

// Usage is the number of 16-byte blocks that the cipher has encrypted. Make a new key at 2^44, 256 TiB; at 2^48
// it refuses with KeyExhausted.
func (cipher *SectorCipher) Usage() (uint64, error) {
	var blocks C.uint64_t
	err := cipher.use(func(handle *C.atrest_sector_cipher) C.atrest_status {
		return C.atrest_sector_cipher_usage(handle, &blocks)
	})
	return uint64(blocks), err
}

// CountIn adds blocks that the key has encrypted elsewhere, such as in an earlier process.
func (cipher *SectorCipher) CountIn(blocks uint64) error {
	return cipher.use(func(handle *C.atrest_sector_cipher) C.atrest_status {
		return C.atrest_sector_cipher_count_in(handle, C.uint64_t(blocks))
	})
}

func (cipher *SectorCipher) use(function func(*C.atrest_sector_cipher) C.atrest_status) error {
	cipher.lock.RLock()
	defer cipher.lock.RUnlock()
	if cipher.handle == nil {
		return ErrClosed
	}
	return call(func() C.atrest_status { return function(cipher.handle) })
}

// Close wipes and frees the cipher, once calls in other goroutines have returned.
func (cipher *SectorCipher) Close() error {
	cipher.lock.Lock()
	defer cipher.lock.Unlock()
	C.atrest_sector_cipher_free(cipher.handle)
	cipher.handle = nil
	runtime.SetFinalizer(cipher, nil)
	return nil
}

// A File is what Sectors lies on, such as an *os.File.
type File interface {
	io.ReaderAt
	io.WriterAt
}

var (
	_ io.ReaderAt = (*Sectors)(nil)
	_ io.WriterAt = (*Sectors)(nil)
)

// Sectors is the plain text of a file of whole encrypted sectors. It reads and writes at any byte, and any number of goroutines may
// use it at once.
type Sectors struct {
	cipher *SectorCipher
	file   File
	first  uint64
	data   anyByte
}

// Over gives the plain text of a file of a size in bytes, a whole number of sectors. The sector at its start has the number first.
func (cipher *SectorCipher) Over(file File, size int64, first uint64) (*Sectors, error) {
	if size < 0 || size%cipher.size != 0 {
		return nil, &Error{PartialSector, "the size must be a whole number of sectors"}
	}
	step := uint64(1)
	if cipher.unit == Unit512 {
		if step = uint64(cipher.size) / 512; first%step != 0 {
			return nil, &Error{SectorNumber, "the number of the first sector must be a multiple of its size in units of 512 bytes"}
		}
	}
	if sectors := uint64(size / cipher.size); sectors > 0 && sectors-1 > (math.MaxUint64-first)/step {
		return nil, &Error{SectorOverflow, "the sector numbers are too large"}
	}
	return &Sectors{cipher: cipher, file: file, first: first, data: anyByte{unit: cipher.size, size: size}}, nil
}

// Size is the size in bytes.
func (sectors *Sectors) Size() int64 { return sectors.data.size }

// ReadAt reads at any byte, as io.ReaderAt has it: at the end it returns what there is, with io.EOF. If the file is shorter than its
// sectors, it fails with io.ErrUnexpectedEOF.
func (sectors *Sectors) ReadAt(p []byte, off int64) (int, error) {
	return sectors.data.readAt(sectors, p, off)
}

// WriteAt writes at any byte, as io.WriterAt has it: beyond the end it fails with OutOfBounds, after it has written what is before. The
// slice isn't changed.
func (sectors *Sectors) WriteAt(p []byte, off int64) (int, error) {
	return sectors.data.writeAt(sectors, p, off)
}

func (sectors *Sectors) number(off int64) uint64 {
	if sectors.cipher.unit == Unit512 {
		return sectors.first + uint64(off)/512
	}
	return sectors.first + uint64(off/sectors.cipher.size)
}

func (sectors *Sectors) read(p []byte, off int64) error {
	n, err := sectors.file.ReadAt(p, off)
	if n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return sectors.cipher.Decrypt(sectors.number(off), p)
}

// The most that is encrypted before it is written.
const atOnce = 1 << 20

func (sectors *Sectors) write(p []byte, off int64) error {
	room := make([]byte, min64(int64(len(p)), atOnce/sectors.cipher.size*sectors.cipher.size))
	for len(p) > 0 {
		n := min64(int64(len(p)), int64(len(room)))
		if err := sectors.cipher.EncryptTo(sectors.number(off), room, p[:n]); err != nil {
			return err
		}
		if _, err := sectors.file.WriteAt(room[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func min64(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
