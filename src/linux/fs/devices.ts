import { EACCES, EFAULT, EINVAL, ENOSPC, ENXIO } from '../errno.ts'
import { OpenFile, S_IFCHR, type Stat } from '../file.ts'
import type { Vma } from '../mm/vma.ts'
import { fillRandom } from '../syscalls/system.ts'
import type { Task } from '../task.ts'
import { Node } from './node.ts'

/** Opens a device; returns the open file or -errno. */
export type DeviceOpen = (task: Task, flags: number, path: string) => OpenFile | number

/** A character device in /dev. */
export class DeviceNode extends Node {
  private readonly openDevice: DeviceOpen
  private readonly rdev: number

  constructor(major: number, minor: number, permissions: number, open: DeviceOpen) {
    super(S_IFCHR | permissions)
    this.rdev = (major << 8) | minor
    this.openDevice = open
    this.dev = 5
  }
  override stat(task: Task | null): Stat {
    return { ...super.stat(task), rdev: this.rdev }
  }
  override open(task: Task, flags: number, path: string): OpenFile | number {
    return this.openDevice(task, flags, path)
  }
  override truncate(): number {
    return -EINVAL
  }
}

abstract class SimpleDevice extends OpenFile {
  readonly name: string
  private readonly node: () => Stat
  constructor(flags: number, name: string, node: () => Stat) {
    super(flags)
    this.name = name
    this.node = node
  }
  override stat(): Stat {
    return this.node()
  }
  override seekEnd(): number {
    return 0
  }
  override get seekable(): boolean {
    return true
  }
}

class NullDevice extends SimpleDevice {
  override read(): number {
    return 0
  }
  override write(_task: Task, _user: number, length: number): number {
    return length
  }
}

class ZeroDevice extends SimpleDevice {
  override read(task: Task, user: number, length: number): number {
    return task.mm.clearUser(user, length) ? length : -EFAULT
  }
  override write(_task: Task, _user: number, length: number): number {
    return length
  }
  /** A private mapping is anonymous memory; a shared one too, as only its own process can reach it. */
  override mmap(_task: Task, vma: Vma): number {
    return vma.shared ? -EACCES : 0
  }
}

class FullDevice extends ZeroDevice {
  override write(): number {
    return -ENOSPC
  }
}

class RandomDevice extends SimpleDevice {
  override read(task: Task, user: number, length: number): number {
    return fillRandom(task, user, length)
  }
  override write(_task: Task, _user: number, length: number): number {
    return length
  }
}

type SimpleConstructor = new (flags: number, name: string, node: () => Stat) => SimpleDevice

function simpleNode(major: number, minor: number, Class: SimpleConstructor): DeviceNode {
  const node: DeviceNode = new DeviceNode(
    major,
    minor,
    0o666,
    (_task, flags, path) => new Class(flags, path, () => node.stat(null)),
  )
  return node
}

/** The memory devices every host has: name, node (Documentation/admin-guide/devices.txt, major 1). */
export function memoryDevices(): [string, DeviceNode][] {
  return [
    ['null', simpleNode(1, 3, NullDevice)],
    ['zero', simpleNode(1, 5, ZeroDevice)],
    ['full', simpleNode(1, 7, FullDevice)],
    ['random', simpleNode(1, 8, RandomDevice)],
    ['urandom', simpleNode(1, 9, RandomDevice)],
    // The controlling terminal: a task without one gets ENXIO.
    ['tty', new DeviceNode(5, 0, 0o666, () => -ENXIO)],
  ]
}
