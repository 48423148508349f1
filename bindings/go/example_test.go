package atrest_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"example.com/atrest"
)

func Example() {
	folder, err := os.MkdirTemp("", "atrest")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	disk := filepath.Join(folder, "disk.img")

	unlock := atrest.Secret{Passphrase: []byte("correct horse battery staple")}
	vault, err := atrest.CreateVault(filepath.Join(folder, "keys.vault"), unlock)
	if err != nil {
		log.Fatal(err)
	}
	defer vault.Close()
	if err := vault.CreateKey("disks"); err != nil {
		log.Fatal(err)
	}

	by := atrest.Way{Vault: vault, Key: "disks"}
	volume, err := atrest.Format(disk, 64<<20, by, atrest.FormatOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := volume.WriteAt([]byte("secret plans"), 1000); err != nil {
		log.Fatal(err)
	}
	if err := volume.Close(); err != nil { // which syncs it
		log.Fatal(err)
	}

	if _, err := atrest.Open(disk, atrest.Way{Secret: unlock}, atrest.OpenOptions{}); errors.Is(err, atrest.NoSuchProtector) {
		fmt.Println("no passphrase opens it")
	}
	if volume, err = atrest.Open(disk, by, atrest.OpenOptions{ReadOnly: true}); err != nil {
		log.Fatal(err)
	}
	defer volume.Close()
	plans, err := io.ReadAll(io.NewSectionReader(volume, 1007, 5))
	fmt.Println(string(plans), err)
	// Output:
	// no passphrase opens it
	// plans <nil>
}
