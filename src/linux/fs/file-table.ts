import { EBADF, EMFILE } from '../errno.ts'
import type { OpenFile } from '../file.ts'
import { RLIMIT_NOFILE } from '../limits.ts'
import type { Task } from '../task.ts'

export const FD_CLOEXEC = 1

interface Slot {
  file: OpenFile
  closeOnExec: boolean
}

/** File descriptors of a process (struct files_struct); shared by CLONE_FILES. */
export class FileTable {
  private readonly slots: (Slot | undefined)[] = []
  private users = 1

  retain(): this {
    this.users++
    return this
  }

  /** One task less uses it; the last closes everything. */
  release(task: Task): void {
    if (--this.users > 0) return
    for (let fd = 0; fd < this.slots.length; fd++) this.close(task, fd)
  }

  get shared(): boolean {
    return this.users > 1
  }

  /** The description behind `fd`, or null. */
  get(fd: number): OpenFile | null {
    return this.slots[fd]?.file ?? null
  }

  isCloseOnExec(fd: number): boolean {
    return this.slots[fd]?.closeOnExec ?? false
  }
  setCloseOnExec(fd: number, value: boolean): void {
    const slot = this.slots[fd]
    if (slot !== undefined) slot.closeOnExec = value
  }

  /** Gives `file` (its reference passes to the table) the lowest free descriptor >= `from`; -EMFILE beyond the limit. */
  install(task: Task, file: OpenFile, closeOnExec: boolean, from = 0): number {
    const limit = Math.min(task.group.limits.soft[RLIMIT_NOFILE], 1048576)
    let fd = from
    while (this.slots[fd] !== undefined) fd++
    if (fd >= limit) {
      file.put(task)
      return -EMFILE
    }
    this.slots[fd] = { file, closeOnExec }
    return fd
  }

  /** Puts `file` (its reference passes) at exactly `fd`, closing what was there. */
  replace(task: Task, fd: number, file: OpenFile, closeOnExec: boolean): number {
    if (fd < 0 || fd >= task.group.limits.soft[RLIMIT_NOFILE]) {
      file.put(task)
      return -EBADF
    }
    const old = this.slots[fd]
    this.slots[fd] = { file, closeOnExec }
    old?.file.put(task)
    return fd
  }

  close(task: Task, fd: number): number {
    const slot = this.slots[fd]
    if (slot === undefined) return -EBADF
    this.slots[fd] = undefined
    slot.file.put(task)
    return 0
  }

  /** fork without CLONE_FILES. */
  copy(): FileTable {
    const copy = new FileTable()
    this.slots.forEach((slot, fd) => {
      if (slot !== undefined) copy.slots[fd] = { file: slot.file.retain(), closeOnExec: slot.closeOnExec }
    })
    return copy
  }

  closeOnExec(task: Task): void {
    this.slots.forEach((slot, fd) => {
      if (slot?.closeOnExec) this.close(task, fd)
    })
  }

  /** Open descriptors in order. */
  *entries(): Iterable<[number, OpenFile]> {
    for (let fd = 0; fd < this.slots.length; fd++) {
      const slot = this.slots[fd]
      if (slot !== undefined) yield [fd, slot.file]
    }
  }
}
