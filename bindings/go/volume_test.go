package atrest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const mib = 1 << 20

var secret = Secret{Passphrase: []byte("correct horse battery staple")}

func newVault1(t *testing.T) *Vault {
	t.Helper()
	vault, err := CreateVault(filepath.Join(t.TempDir(), "keys.vault"), secret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vault.Close() })
	if err := vault.CreateKey("disks"); err != nil {
		t.Fatal(err)
	}
	return vault
}

func newDisk(t *testing.T, size uint64, options FormatOptions) (*Volume, Way, string) {
	t.Helper()
	way := Way{Vault: newVault1(t), Key: "disks"}
	path := filepath.Join(t.TempDir(), "disk.img")
	volume, err := Format(path, size, way, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { volume.Close() })
	return volume, way, path
}

func cryptsetup(t *testing.T, input []byte, arguments ...string) {
	t.Helper()
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		if os.Getenv("ATREST_REQUIRE_PEERS") == "1" {
			t.Fatal("there is no cryptsetup")
		}
		t.Skip("there is no cryptsetup")
	}
	command := exec.Command("cryptsetup", arguments...)
	command.Stdin = bytes.NewReader(input)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("cryptsetup %v: %v: %s", arguments, err, output)
	}
}

func TestWhatItProtectsCryptsetupOpens(t *testing.T) {
	volume, way, path := newDisk(t, 20*mib, FormatOptions{Context: []byte("disk-1")})
	id, err := volume.AddProtector(Way{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	if err := volume.Close(); err != nil {
		t.Fatal(err)
	}
	cryptsetup(t, secret.Passphrase, "open", "--test-passphrase", "--key-file", "-", path)
	if volume, err = Open(path, Way{Secret: secret}, OpenOptions{Context: []byte("disk-1")}); err != nil {
		t.Fatal(err)
	}
	if err := volume.RemoveKeyslot(id); err != nil {
		t.Fatal(err)
	}
	volume.Close()
	if _, err := Open(path, Way{Secret: secret}, OpenOptions{}); err == nil {
		t.Error("a passphrase that was removed opens it")
	}
	if _, err := Open(path, way, OpenOptions{Context: []byte("disk-2")}); !errors.Is(err, ContextMismatch) {
		t.Error(err)
	}
}

func TestWhatCryptsetupMakesItOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, 20*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	cryptsetup(t, secret.Passphrase, "luksFormat", "--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
		"--sector-size", "4096", "--key-file", "-", path)
	for _, wrong := range []struct {
		way    Way
		status Status
	}{{Way{Secret: Secret{Passphrase: []byte("wrong")}}, WrongPassphrase}, {Way{Secret: Secret{KeyFile: path + ".none"}}, NotFound}} {
		_, err := Open(path, wrong.way, OpenOptions{})
		var told *Error
		if !errors.Is(err, wrong.status) || !errors.As(err, &told) || told.Message == "" {
			t.Error(err)
		}
	}
	volume, err := Open(path, Way{Secret: secret}, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer volume.Close()
	if volume.SectorSize() != 4096 || volume.Size() != 4*mib {
		t.Error(volume.SectorSize(), volume.Size())
	}
	if _, err := Open(path, Way{Secret: secret}, OpenOptions{}); !errors.Is(err, Busy) {
		t.Error(err)
	}
}

// Any byte, as a slice has it, and the rules of io.ReaderAt and io.WriterAt at the end.
func TestReadsAndWritesAtAnyByte(t *testing.T) {
	volume, way, path := newDisk(t, 20*mib, FormatOptions{SectorSize: 4096})
	model := make([]byte, volume.Size())
	if n, err := volume.WriteAt(model, 0); n != len(model) || err != nil {
		t.Fatal(n, err)
	}
	random := mathrand.New(mathrand.NewSource(1))
	for i := 0; i < 400; i++ {
		data := make([]byte, []int{0, 1, 7, 511, 4095, 4096, 4097, 8192, 20000}[random.Intn(9)])
		off := random.Int63n(volume.Size() + 3)
		if random.Intn(2) == 0 {
			off &^= 4095
		}
		want := 0
		if off < volume.Size() {
			want = len(model[off:])
		}
		if want > len(data) {
			want = len(data)
		}
		if random.Intn(2) == 0 {
			rand.Read(data)
			n, err := volume.WriteAt(data, off)
			if n != want || (err == nil) != (n == len(data)) || (err != nil && !errors.Is(err, OutOfBounds)) {
				t.Fatalf("writing %d at %d: %d, %v", len(data), off, n, err)
			}
			if n > 0 {
				copy(model[off:], data[:n])
			}
			continue
		}
		n, err := volume.ReadAt(data, off)
		if n != want || (n < len(data)) != (err == io.EOF) || (n == len(data) && err != nil) {
			t.Fatalf("reading %d at %d: %d, %v", len(data), off, n, err)
		}
		if n > 0 && !bytes.Equal(data[:n], model[off:off+int64(n)]) {
			t.Fatalf("reading %d at %d: another content", len(data), off)
		}
	}
	for _, call := range []func([]byte, int64) (int, error){volume.ReadAt, volume.WriteAt} {
		if n, err := call(make([]byte, 5), -1); n != 0 || err == nil {
			t.Error(n, err)
		}
	}
	if err := volume.Close(); err != nil {
		t.Fatal(err)
	}
	volume, err := Open(path, way, OpenOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(io.NewSectionReader(volume, 0, volume.Size()))
	if err != nil || !bytes.Equal(all, model) {
		t.Error("another content", err)
	}
	if _, err := volume.WriteAt(make([]byte, 5), 3); !errors.Is(err, ReadOnly) {
		t.Error(err)
	}
	if err := volume.Close(); err != nil {
		t.Error(err)
	}
}

func TestGoroutinesShareASector(t *testing.T) {
	volume, _, _ := newDisk(t, 20*mib, FormatOptions{SectorSize: 4096})
	var writers sync.WaitGroup
	for n := 0; n < 8; n++ {
		writers.Add(1)
		go func(n int) {
			defer writers.Done()
			for at := n; at < 4096; at += 8 {
				if _, err := volume.WriteAt([]byte{byte(n + 1)}, int64(at)); err != nil {
					t.Error(err)
				}
				if _, err := volume.WriteAt(make([]byte, 4096), 4096); err != nil {
					t.Error(err)
				}
			}
		}(n)
	}
	writers.Wait()
	sector := make([]byte, 4096)
	if _, err := volume.ReadAt(sector, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sector, bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 512)) {
		t.Error("writes to parts of a sector were lost")
	}
}

func TestAVaultRotatesAndCloses(t *testing.T) {
	volume, way, path := newDisk(t, 20*mib, FormatOptions{})
	if err := way.Vault.CreateKey("disks"); !errors.Is(err, KeyExists) {
		t.Error(err)
	}
	if err := way.Vault.RotateKey("disks"); err != nil {
		t.Fatal(err)
	}
	if err := volume.RotateKEK(way.Vault); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []Way{{}, {Vault: way.Vault, Secret: secret}} {
		if _, err := Open(path, wrong, OpenOptions{}); err != errWay {
			t.Error(err)
		}
	}
	if _, err := Format(filepath.Join(t.TempDir(), "new"), 20*mib, Way{Vault: way.Vault, Key: "none"}, FormatOptions{}); !errors.Is(err, NoSuchKey) {
		t.Error(err)
	}
	way.Vault.Close()
	way.Vault.Close()
	if err := way.Vault.RotateKey("disks"); err != ErrClosed {
		t.Error(err)
	}
	if _, err := Open(path, way, OpenOptions{}); err != ErrClosed {
		t.Error(err)
	}
	// Close waits for calls, and everything after it fails.
	var users sync.WaitGroup
	for n := 0; n < 4; n++ {
		users.Add(1)
		go func() {
			defer users.Done()
			for {
				if _, err := volume.ReadAt(make([]byte, 512), 0); err == ErrClosed {
					return
				} else if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	if err := volume.Close(); err != nil {
		t.Error(err)
	}
	users.Wait()
	if err := volume.Close(); err != ErrClosed {
		t.Error(err)
	}
}

func TestAVaultByItsURL(t *testing.T) {
	if _, err := OpenVaultURL("nothing:at-all"); !errors.Is(err, InvalidOption) {
		t.Error(err)
	}
	if _, err := OpenVault(filepath.Join(t.TempDir(), "none"), secret); !errors.Is(err, NotFound) {
		t.Error(err)
	}
}
