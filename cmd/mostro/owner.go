package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	osuser "os/user"
	"path/filepath"
	"strconv"
)

// refuseRoot keeps root out of a data directory of somebody else. A store writes also when it is only read: what
// a crash has left is put in order first. Such files would be root's, and the node of the owner could not start
// any more. uid is who asks; doing is the command, for the text.
//
// The directory is his who has the stores in it. Only root is asked: nobody else makes files where he must not,
// unless a group was given the right to.
func refuseRoot(dir, doing string, uid int) error {
	name, foreign := foreignToRoot(uid, dir, escrowDir, relayDir, replicaDir, ".")
	if !foreign {
		return nil
	}
	return hint(rootWrites(dir, name),
		fmt.Sprintf("as its owner: sudo -u '%s' %s --data-dir %s", name, doing, dir),
		fmt.Sprintf("if root is to run the node from now on, give it all to root first: chown -R root %s", dir))
}

// refuseRootAsClient does so for a directory of a client, which locks and writes its trades in it.
func refuseRootAsClient(dir clientDir, uid int) error {
	name, foreign := foreignToRoot(uid, string(dir), ".")
	if !foreign {
		return nil
	}
	return hint(rootWrites(string(dir), name), fmt.Sprintf("as its owner: sudo -u '%s' mostro client", name))
}

func rootWrites(dir, owner string) error {
	return fmt.Errorf("%s belongs to %s, and you are root: what is written there would be root's, and %s could not use it any more", dir, owner, owner)
}

// foreignToRoot tells root who has a directory that is not his: the owner of the first of these in it that is there.
func foreignToRoot(uid int, dir string, of ...string) (owner string, foreign bool) {
	if uid != 0 {
		return "", false
	}
	for _, name := range of {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		who, known := ownerOf(info)
		return userName(who), known && who != uid
	}
	return "", false // there is nothing yet
}

// userName is what a user is called, or #UID, as sudo takes it.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := osuser.LookupId(id); err == nil {
		return cmp.Or(u.Username, "#"+id)
	}
	return "#" + id
}

// refuseForeign names a file of a store that belongs to another user and cannot be written, such as those that a
// command of root's has left there once. The store itself would say only that it may not.
func refuseForeign(dir string, uid int) error {
	for _, store := range []string{escrowDir, relayDir, mirrorDir, replicaDir} {
		entries, err := os.ReadDir(filepath.Join(dir, store))
		if err != nil {
			continue // it says so itself, when it is opened
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			owner, known := ownerOf(info)
			if !known || owner == uid {
				continue
			}
			path := filepath.Join(dir, store, entry.Name())
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if errors.Is(err, fs.ErrPermission) {
				return hint(fmt.Errorf("%s belongs to %s, and %s cannot write it", path, userName(owner), userName(uid)),
					fmt.Sprintf("give it back: sudo chown -R %d %s", uid, dir))
			}
			if err == nil {
				file.Close()
			}
		}
	}
	return nil
}
