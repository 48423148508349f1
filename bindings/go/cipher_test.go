package atrest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func repeated(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func newCipher(t *testing.T, key []byte, size uint32, unit SectorUnit) *SectorCipher {
	t.Helper()
	dek, err := HazmatDekFromBytes(key)
	if err != nil {
		t.Fatal(err)
	}
	defer dek.Close()
	cipher, err := dek.SectorCipher(size, unit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cipher.Close() })
	return cipher
}

// Vector 2 of IEEE 1619-2018, annex B.
func TestTheStandardsVector(t *testing.T) {
	cipher := newCipher(t, append(repeated(0x11, 16), repeated(0x22, 16)...), 512, Unit512)
	tweak := [16]byte{0x33, 0x33, 0x33, 0x33, 0x33}
	unit := repeated(0x44, 32)
	if err := cipher.EncryptUnit(tweak, unit); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(unit); got != "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0" {
		t.Error(got)
	}
	if err := cipher.DecryptUnit(tweak, unit); err != nil || !bytes.Equal(unit, repeated(0x44, 32)) {
		t.Error(err)
	}
	if _, err := HazmatDekFromBytes(repeated(0x11, 32)); err == nil {
		t.Error("a key of two equal halves")
	}
	if _, err := HazmatDekFromBytes(nil); err == nil {
		t.Error("no key")
	}
}

// A run of sectors is the data units of their numbers, as the standard's vector has them.
func TestSectorsAreNumberedUnits(t *testing.T) {
	key := append(repeated(1, 32), repeated(2, 32)...)
	for _, of := range []struct {
		size  uint32
		unit  SectorUnit
		first uint64
		step  uint64
	}{{512, Unit512, 7, 1}, {4096, Unit512, 16, 8}, {4096, UnitSector, 3, 1}} {
		cipher := newCipher(t, key, of.size, of.unit)
		plain := make([]byte, 4*of.size)
		for i := range plain {
			plain[i] = byte(i / 5)
		}
		var want []byte
		for n := uint64(0); n < 4; n++ {
			var tweak [16]byte
			binary.LittleEndian.PutUint64(tweak[:], of.first+n*of.step)
			unit := append([]byte(nil), plain[n*uint64(of.size):(n+1)*uint64(of.size)]...)
			if err := cipher.EncryptUnit(tweak, unit); err != nil {
				t.Fatal(err)
			}
			want = append(want, unit...)
		}
		got := append([]byte(nil), plain...)
		if err := cipher.Encrypt(of.first, got); err != nil || !bytes.Equal(got, want) {
			t.Error("Encrypt", of, err)
		}
		if err := cipher.EncryptTo(of.first, got, plain); err != nil || !bytes.Equal(got, want) {
			t.Error("EncryptTo", of, err)
		}
		if err := cipher.DecryptTo(of.first, got, want); err != nil || !bytes.Equal(got, plain) {
			t.Error("DecryptTo", of, err)
		}
		path := filepath.Join(t.TempDir(), "sectors")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		sectors, err := cipher.Over(file, int64(len(plain)), of.first)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := sectors.WriteAt(plain, 0); n != len(plain) || err != nil {
			t.Error(n, err)
		}
		if written, err := os.ReadFile(path); err != nil || !bytes.Equal(written, want) {
			t.Error("what is in the file", of, err)
		}
		if plain[7] != byte(7/5) {
			t.Error("WriteAt has changed the slice")
		}
	}
}

func TestSectorsOverAFile(t *testing.T) {
	cipher := newCipher(t, append(repeated(1, 16), repeated(2, 16)...), 512, Unit512)
	path := filepath.Join(t.TempDir(), "sectors")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sectors, err := cipher.Over(file, 4096, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := sectors.WriteAt([]byte("secret plans"), 1020); n != 12 || err != nil {
		t.Fatal(n, err)
	}
	p := make([]byte, 12)
	if n, err := sectors.ReadAt(p, 1020); n != 12 || err != nil || string(p) != "secret plans" {
		t.Error(n, err, p)
	}
	if raw, _ := os.ReadFile(path); bytes.Contains(raw, []byte("plans")) {
		t.Error("the file has the plain text")
	}
	if n, err := sectors.ReadAt(p, 4090); n != 6 || err != io.EOF {
		t.Error(n, err)
	}
	if n, err := sectors.WriteAt(p, 4090); n != 6 || !errors.Is(err, OutOfBounds) {
		t.Error(n, err)
	}
	if err := file.Truncate(1000); err != nil {
		t.Fatal(err)
	}
	if _, err := sectors.ReadAt(p, 800); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	for _, wrong := range []struct {
		size   int64
		first  uint64
		sector uint32
		status Status
	}{{1000, 0, 512, PartialSector}, {-512, 0, 512, PartialSector}, {4096, 1, 4096, SectorNumber}, {1024, math.MaxUint64, 512, SectorOverflow}} {
		other := newCipher(t, append(repeated(1, 16), repeated(2, 16)...), wrong.sector, Unit512)
		if _, err := other.Over(file, wrong.size, wrong.first); !errors.Is(err, wrong.status) {
			t.Error(wrong, err)
		}
	}
	if err := cipher.Encrypt(0, make([]byte, 100)); !errors.Is(err, PartialSector) {
		t.Error(err)
	}
	if err := cipher.Encrypt(0, nil); err != nil {
		t.Error(err)
	}
	if err := cipher.CountIn(5); err != nil {
		t.Error(err)
	}
	if blocks, err := cipher.Usage(); err != nil || blocks != 5+3*32 { // the sectors of two writes
		t.Error(blocks, err)
	}
	cipher.Close()
	if _, err := sectors.ReadAt(p, 0); err != ErrClosed {
		t.Error(err)
	}
}

func TestEnvelopes(t *testing.T) {
	vault := newVault1(t)
	dek, err := GenerateDek(AES256XTS)
	if err != nil {
		t.Fatal(err)
	}
	defer dek.Close()
	envelope, err := dek.Seal(vault, "disks", []byte("chunk 7"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Unseal(vault, envelope, []byte("chunk 7"))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	one, err := dek.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if other, err := again.Fingerprint(); err != nil || one != other || one == (Fingerprint{}) {
		t.Error(one, other, err)
	}
	if _, err := Unseal(vault, envelope, []byte("chunk 8")); !errors.Is(err, ContextMismatch) {
		t.Error(err)
	}
	if _, err := Unseal(newVault1(t), envelope, []byte("chunk 7")); !errors.Is(err, NotThisVault) {
		t.Error(err)
	}
	if _, err := Unseal(vault, nil, nil); !errors.Is(err, InvalidEnvelope) {
		t.Error(err)
	}
	if _, err := dek.Seal(vault, "none", nil); !errors.Is(err, NoSuchKey) {
		t.Error(err)
	}
	if url, err := EnvelopeKeyURL(envelope); err != nil || !bytes.HasSuffix([]byte(url), []byte("/keys/disks/1")) {
		t.Error(url, err)
	}
	dek.Close()
	if _, err := dek.Fingerprint(); err != ErrClosed {
		t.Error(err)
	}
}

// A page of somebody's cache, in a list.
type page struct {
	next *page
	data [4096]byte
}

func newPage(data []byte) *page {
	p := &page{next: new(page)}
	copy(p.data[:], data)
	return p
}

// Memory next to pointers of Go is as good as any.
func TestBytesLieInAnything(t *testing.T) {
	cipher := newCipher(t, append(repeated(1, 32), repeated(2, 32)...), 4096, UnitSector)
	plain := repeated(7, 4096)
	want := append([]byte(nil), plain...)
	if err := cipher.Encrypt(5, want); err != nil {
		t.Fatal(err)
	}
	from, to := newPage(plain), newPage(nil)
	if err := cipher.EncryptTo(5, to.data[:], from.data[:]); err != nil || !bytes.Equal(to.data[:], want) {
		t.Error("EncryptTo", err)
	}
	if err := cipher.Encrypt(5, from.data[:]); err != nil || !bytes.Equal(from.data[:], want) {
		t.Error("Encrypt", err)
	}
	if err := cipher.DecryptTo(5, to.data[:], from.data[:]); err != nil || !bytes.Equal(to.data[:], plain) {
		t.Error("DecryptTo", err)
	}
	if err := cipher.Decrypt(5, from.data[:]); err != nil || !bytes.Equal(from.data[:], plain) {
		t.Error("Decrypt", err)
	}
	if err := cipher.EncryptUnit([16]byte{5}, from.data[:]); err != nil || !bytes.Equal(from.data[:], want) {
		t.Error("EncryptUnit", err)
	}
	if err := cipher.DecryptUnit([16]byte{5}, from.data[:]); err != nil || !bytes.Equal(from.data[:], plain) {
		t.Error("DecryptUnit", err)
	}

	vault := newVault1(t)
	key := newPage(append(repeated(1, 32), repeated(2, 32)...))
	context := newPage([]byte("chunk"))
	dek, err := HazmatDekFromBytes(key.data[:64])
	if err != nil {
		t.Fatal(err)
	}
	defer dek.Close()
	sealed, err := dek.Seal(vault, "disks", context.data[:5])
	if err != nil {
		t.Fatal(err)
	}
	envelope := newPage(sealed)
	if _, err := EnvelopeKeyURL(envelope.data[:len(sealed)]); err != nil {
		t.Error(err)
	}
	opened, err := Unseal(vault, envelope.data[:len(sealed)], context.data[:5])
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()

	path := filepath.Join(t.TempDir(), "disk")
	way := Way{Vault: vault, Key: "disks"}
	volume, err := Format(path, 17*mib, way, FormatOptions{Context: context.data[:5]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := volume.WriteAt(from.data[:], 0); err != nil {
		t.Error(err)
	}
	volume.Close()
	volume, err = Open(path, Way{Vault: vault}, OpenOptions{Context: context.data[:5]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := volume.ReadAt(to.data[:], 0); err != nil || to.data != from.data {
		t.Error(err)
	}
	volume.Close()
	if _, err := Open(path, Way{Vault: vault}, OpenOptions{Context: []byte{}}); !errors.Is(err, ContextMismatch) {
		t.Error(err)
	}
	backup, err := BackupHeader(path)
	if err != nil {
		t.Fatal(err)
	}
	beside := struct {
		next *page
		data [16 << 20]byte
	}{next: new(page)}
	backup = beside.data[:copy(beside.data[:], backup)]
	if err := RestoreHeader(path, backup); err != nil {
		t.Error(err)
	}
	if err := HazmatRestoreHeader(path, backup); err != nil {
		t.Error(err)
	}
	plainDisk := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plainDisk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(plainDisk, 52*mib); err != nil {
		t.Fatal(err)
	}
	volume, err = BeginEncryption(plainDisk, way, FormatOptions{Context: context.data[:5]}, 32*mib)
	if err != nil {
		t.Fatal(err)
	}
	volume.Close()
}
