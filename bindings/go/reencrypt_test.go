package atrest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func dump(t *testing.T, path string) string {
	t.Helper()
	cryptsetup(t, nil, "isLuks", path) // it is there
	output, err := exec.Command("cryptsetup", "luksDump", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return string(output)
}

// Stopped, opened anew, written to meanwhile: the data are as they were written, under a new key and by new ways in.
func TestReencryptsInUse(t *testing.T) {
	volume, way, path := newDisk(t, 52*mib, FormatOptions{})
	model := make([]byte, volume.Size())
	rand.Read(model)
	if _, err := volume.WriteAt(model, 0); err != nil {
		t.Fatal(err)
	}
	before, err := volume.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if progress, err := volume.Reencryption(); err != nil || progress.UnderWay {
		t.Error(progress, err)
	}
	if err := volume.BeginReencryption(nil, ReencryptOptions{}); !errors.Is(err, InvalidOption) {
		t.Error(err)
	}
	ways := []Way{way, {Secret: secret}}
	if err := volume.BeginReencryption(ways, ReencryptOptions{Algorithm: AES128XTS, SectorSize: 4096}); err != nil {
		t.Fatal(err)
	}
	if volume.SectorSize() != 4096 {
		t.Error(volume.SectorSize())
	}
	if err := volume.BeginReencryption(ways, ReencryptOptions{}); !errors.Is(err, Busy) {
		t.Error(err)
	}
	progress, err := volume.ReencryptStep(1 * mib)
	if err != nil || !progress.UnderWay || progress.Done == 0 || progress.Total != uint64(volume.Size()) {
		t.Fatal(progress, err)
	}
	volume.Close()
	if !strings.Contains(dump(t, path), "online-reencrypt") {
		t.Error("cryptsetup doesn't see that it is under way")
	}

	if volume, err = Open(path, Way{Secret: secret}, OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := volume.Reencrypt(ctx, nil); err != context.Canceled {
		t.Error(err)
	}
	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		for at := int64(3); at < volume.Size()-100; at += 1 << 18 {
			copy(model[at:], "written meanwhile")
			if _, err := volume.WriteAt([]byte("written meanwhile"), at); err != nil {
				t.Error(err)
			}
		}
	}()
	var last Progress
	if err := volume.Reencrypt(context.Background(), func(progress Progress) { last = progress }); err != nil {
		t.Fatal(err)
	}
	writer.Wait()
	if last.UnderWay || last.Done != last.Total {
		t.Error(last)
	}
	if after, err := volume.Fingerprint(); err != nil || after == before {
		t.Error("the key is the one before", err)
	}
	volume.Close()
	if said := dump(t, path); strings.Contains(said, "online-reencrypt") || !strings.Contains(said, "sector: 4096") {
		t.Error(said)
	}
	cryptsetup(t, secret.Passphrase, "open", "--test-passphrase", "--key-file", "-", path)
	for _, way := range ways {
		if volume, err = Open(path, way, OpenOptions{ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		found := make([]byte, len(model))
		if _, err := volume.ReadAt(found, 0); err != nil || !bytes.Equal(found, model) {
			t.Error("another content", err)
		}
		volume.Close()
	}
}

func TestEncryptsWhereTheDataLies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	plain := make([]byte, 40*mib)
	rand.Read(plain)
	if err := os.WriteFile(path, append(append([]byte(nil), plain...), make([]byte, 32*mib)...), 0o600); err != nil {
		t.Fatal(err)
	}
	way := Way{Secret: secret}
	volume, err := BeginEncryption(path, way, FormatOptions{}, 32*mib)
	if err != nil {
		t.Fatal(err)
	}
	if progress, err := volume.ReencryptStep(1 * mib); err != nil || !progress.UnderWay {
		t.Fatal(progress, err)
	}
	volume.Close()
	if _, err := Open(path, way, OpenOptions{}); err == nil {
		t.Fatal("a volume with plain data opens, and nobody has allowed that")
	}
	if volume, err = Open(path, way, OpenOptions{HazmatAllowUnencrypted: true}); err != nil {
		t.Fatal(err)
	}
	if err := volume.Reencrypt(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	found := make([]byte, len(plain))
	if _, err := volume.ReadAt(found, 0); err != nil || !bytes.Equal(found, plain) {
		t.Error("another content", err)
	}
	volume.Close()
	if raw, _ := os.ReadFile(path); bytes.Contains(raw, plain[:64]) || bytes.Contains(raw, plain[len(plain)-64:]) {
		t.Error("the plain data is still there")
	}
	cryptsetup(t, secret.Passphrase, "open", "--test-passphrase", "--key-file", "-", path)
}

func TestHeadersAreBackedUpAndRestored(t *testing.T) {
	volume, _, path := newDisk(t, 20*mib, FormatOptions{})
	id, err := volume.AddProtector(Way{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := BackupHeader(path); !errors.Is(err, Busy) {
		t.Error("the volume is open", err)
	}
	volume.Close()
	backup, err := BackupHeader(path)
	if err != nil {
		t.Fatal(err)
	}
	by := filepath.Join(t.TempDir(), "by-cryptsetup")
	cryptsetup(t, nil, "luksHeaderBackup", path, "--header-backup-file", by)
	if peers, err := os.ReadFile(by); err != nil || !bytes.Equal(peers, backup) {
		t.Error("cryptsetup makes another backup", err)
	}
	if volume, err = Open(path, Way{Secret: secret}, OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := volume.RemoveKeyslot(id); err != nil {
		t.Fatal(err)
	}
	volume.Close()
	if _, err := Open(path, Way{Secret: secret}, OpenOptions{}); err == nil {
		t.Error("a passphrase that was removed opens it")
	}
	if err := RestoreHeader(path, backup); err != nil {
		t.Fatal(err)
	}
	cryptsetup(t, secret.Passphrase, "open", "--test-passphrase", "--key-file", "-", path)

	_, _, other := newDisk(t, 20*mib, FormatOptions{})
	if err := RestoreHeader(other, backup); !errors.Is(err, Busy) {
		t.Error("the volume is open", err)
	}
	volume, _, other = newDisk(t, 20*mib, FormatOptions{})
	volume.Close()
	if err := RestoreHeader(other, backup); !errors.Is(err, OtherHeader) {
		t.Error(err)
	}
	if err := RestoreHeader(other, nil); err == nil {
		t.Error("a backup without bytes")
	}
	if err := HazmatRestoreHeader(other, backup); err != nil {
		t.Fatal(err)
	}
	cryptsetup(t, secret.Passphrase, "open", "--test-passphrase", "--key-file", "-", other)
	if _, err := BackupHeader(by + ".none"); !errors.Is(err, NotFound) {
		t.Error(err)
	}
}

// Ways may have one vault. A vault that is closed meanwhile waits for them, and they not for it.
func TestWaysOfOneVaultWhileItIsClosed(t *testing.T) {
	volume, way, _ := newDisk(t, 20*mib, FormatOptions{})
	// Far too many, so that it is closed in their midst.
	ways := make([]Way, 5000)
	for round := time.Duration(0); round < 5; round++ {
		vault := newVault1(t)
		for i := range ways {
			ways[i] = Way{Vault: vault, Key: "disks"}
		}
		returned := make(chan error, 2)
		go func() { returned <- volume.BeginReencryption(ways, ReencryptOptions{}) }()
		go func() {
			time.Sleep(round * 300 * time.Microsecond)
			vault.Close()
			returned <- errors.New("closed")
		}()
		for i := 0; i < 2; i++ {
			select {
			case err := <-returned:
				if err == nil {
					t.Error("more protectors than a header has room for")
				}
			case <-time.After(time.Minute):
				panic("a call and Close wait for each other") // and the cleanup for both
			}
		}
	}
	if err := volume.BeginReencryption([]Way{way, way}, ReencryptOptions{}); err != nil {
		t.Error(err)
	}
}
