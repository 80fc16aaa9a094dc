import { KVM_IOCTL, type KvmIoctlName } from '../kvm/abi/ioctl-numbers.ts'
import { type Decoded, decode, encode, type Fields, type StructLayout } from '../kvm/abi/struct-layout.ts'
import { EFAULT, ENOSYS } from '../linux/errno.ts'
import { O_RDONLY, O_RDWR } from '../linux/file.ts'
import { MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED } from '../linux/mm/mmap.ts'
import { PROT_READ, PROT_WRITE } from '../linux/mm/vma.ts'
import { ArchPrctl } from './arch-prctl.ts'
import { KvmError, SyscallError } from './errors.ts'
import { Kvm } from './kvm.ts'
import type { ProcessBackend, ProcessSignal } from './process-backend.ts'
import { ProcessMemory } from './process-memory.ts'

/** arch/x86/entry/syscalls/syscall_64.tbl */
const NR_read = 0
const NR_open = 2
const NR_close = 3
const NR_mmap = 9
const NR_munmap = 11
const NR_ioctl = 16
const NR_execve = 59

const SIGCHLD = 17
/** CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, as C libraries start threads. */
const THREAD = 0x50f00

/** Bytes for arguments of ioctls; the largest are CPUID lists (256 entries) and XSAVE images. */
const ARGUMENT_BYTES = 0x10000

/**
 * A process that uses KVM: its system calls, typed. Arguments that are structures are built in a part of its memory set aside
 * for them, so that the kernel sees what it would see from a C program.
 */
export class Process {
  readonly backend: ProcessBackend
  readonly archPrctl: ArchPrctl
  private readonly argument: ProcessMemory
  /** Our copy of a structure on its way in or out. */
  private readonly buffer = new Uint8Array(ARGUMENT_BYTES)
  private readonly view = new DataView(this.buffer.buffer)

  constructor(backend: ProcessBackend) {
    this.backend = backend
    this.archPrctl = new ArchPrctl(this)
    this.argument = this.allocate(ARGUMENT_BYTES)
  }

  /**
   * fork(2): a child that has this process's memory, files and permissions as they are now. What it does is what you do with the
   * returned object; file descriptors and addresses mean the same in both.
   *
   * @throws SyscallError; ENOSYS where the backend cannot
   */
  fork(): Process {
    return this.clone('fork', SIGCHLD)
  }
  /** pthread_create(3): a thread of this process, sharing everything with it. */
  newThread(): Process {
    return this.clone('clone', THREAD)
  }
  private clone(call: string, flags: number): Process {
    const child = this.backend.clone?.(flags) ?? -ENOSYS
    if (typeof child === 'number') throw new SyscallError(call, -child, this.backend.refusal)
    return new Process(child)
  }

  /**
   * execve(2) of a static x86-64 program, whose instructions do not run: what happens in the new address space is again what you do
   * with the returned object. This one, its memory and its close-on-exec file descriptors are gone.
   */
  exec(path: string): Process {
    this.argument.write(0, new TextEncoder().encode(`${path}\0`))
    this.syscall(`execve ${path}`, NR_execve, this.argument.address, 0, 0)
    return new Process(this.backend)
  }

  /** Ends the process: its file descriptors are closed, its memory is freed. Nothing of it may be used afterwards. */
  exit(): void {
    this.backend.exit()
  }

  /** Signals that the process got since it was last asked, as by handlers that return: SIGBUS for a guest's split lock (SLD-34). */
  takeSignals(): readonly ProcessSignal[] {
    return this.backend.takeSignals()
  }

  openKvm(path = '/dev/kvm'): Kvm {
    return new Kvm(this, this.open(path))
  }

  open(path: string, flags = O_RDWR): number {
    this.argument.write(0, new TextEncoder().encode(`${path}\0`))
    return this.syscall(`open ${path}`, NR_open, this.argument.address, flags)
  }

  close(fd: number): void {
    this.syscall('close', NR_close, fd)
  }

  /** A whole text file. */
  readFile(path: string): string {
    const fd = this.open(path, O_RDONLY)
    const decoder = new TextDecoder()
    let text = ''
    for (;;) {
      const count = this.syscall(`read ${path}`, NR_read, fd, this.argument.address, this.argument.size)
      if (count === 0) break
      text += decoder.decode(this.argument.bytes(0, count), { stream: true })
    }
    this.close(fd)
    return text
  }

  /** Zeroed private memory, committed when touched. */
  allocate(bytes: number): ProcessMemory {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    const address = this.syscall('mmap', NR_mmap, 0, bytes, PROT_READ | PROT_WRITE, flags, -1, 0)
    return new ProcessMemory(this.backend, address, bytes)
  }

  release(memory: ProcessMemory): void {
    this.syscall('munmap', NR_munmap, memory.address, memory.size)
  }

  /** Shared mapping of a file: its pages are the kernel's own. */
  mapShared(fd: number, bytes: number): ProcessMemory {
    const address = this.syscall('mmap', NR_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    return new ProcessMemory(this.backend, address, bytes)
  }

  /** The live bytes of a page of a shared mapping. */
  page(address: number): DataView {
    const page = this.backend.page(address)
    if (page === null) throw new SyscallError(`access to 0x${address.toString(16)}`, EFAULT, null)
    return page
  }

  /** @throws SyscallError; `call` is what the message names. */
  syscall(call: string, nr: number, ...args: number[]): number {
    const result = this.backend.syscall(nr, ...args)
    if (result < 0) throw new SyscallError(call, -result, this.backend.refusal)
    return result
  }

  /** A system call that stores a u64 through its last argument. */
  syscallForU64(call: string, nr: number, ...args: number[]): bigint {
    this.syscall(call, nr, ...args, this.argument.address)
    return new DataView(this.argument.bytes(0, 8).buffer).getBigUint64(0, true)
  }

  // ---- ioctls of KVM's file descriptors ----

  /** An ioctl whose argument is a value. @throws KvmError */
  ioctl(fd: number, name: KvmIoctlName, value = 0): number {
    const result = this.tryIoctl(fd, name, value)
    if (result < 0) throw this.refused(name, result)
    return result
  }

  /** As `ioctl`, but a refusal is the result: -errno. */
  tryIoctl(fd: number, name: KvmIoctlName, value = 0): number {
    return this.backend.syscall(NR_ioctl, fd, KVM_IOCTL[name], value)
  }

  /** The error of an ioctl that returned -errno just now. */
  refused(name: KvmIoctlName, result: number): KvmError {
    return new KvmError(name, -result, this.backend.refusal)
  }

  /** An ioctl that fills a structure. */
  get<F extends Fields>(fd: number, name: KvmIoctlName, layout: StructLayout<F>): Decoded<F> {
    this.ioctl(fd, name, this.argument.address)
    this.argument.read(0, this.buffer.subarray(0, layout.size))
    return decode(layout, this.view)
  }

  /** An ioctl that takes a structure; fields left out are zero. */
  set<F extends Fields>(fd: number, name: KvmIoctlName, layout: StructLayout<F>, value: Partial<Decoded<F>>): number {
    this.put(layout, value)
    return this.ioctl(fd, name, this.argument.address)
  }

  /** An ioctl that takes a structure and changes it. */
  exchange<F extends Fields>(fd: number, name: KvmIoctlName, layout: StructLayout<F>, value: Partial<Decoded<F>>): Decoded<F> {
    this.put(layout, value)
    return this.get(fd, name, layout)
  }

  private put<F extends Fields>(layout: StructLayout<F>, value: Partial<Decoded<F>>): void {
    const bytes = this.buffer.subarray(0, layout.size)
    bytes.fill(0)
    encode(layout, value, this.view)
    this.argument.write(0, bytes)
  }

  /** An ioctl on bytes that it may read and change. Returns what the ioctl returns. */
  ioctlBytes(fd: number, name: KvmIoctlName, bytes: Uint8Array): number {
    this.argument.write(0, bytes)
    const result = this.ioctl(fd, name, this.argument.address)
    this.argument.read(0, bytes)
    return result
  }

  /** As `ioctlBytes` where the ioctl only reads. */
  ioctlTakes(fd: number, name: KvmIoctlName, bytes: Uint8Array): number {
    this.argument.write(0, bytes)
    return this.ioctl(fd, name, this.argument.address)
  }

  /** As `ioctlBytes`; a refusal is the result, -errno, and `bytes` are read back all the same (KVM_GET_MSR_INDEX_LIST). */
  tryIoctlBytes(fd: number, name: KvmIoctlName, bytes: Uint8Array): number {
    this.argument.write(0, bytes)
    const result = this.tryIoctl(fd, name, this.argument.address)
    this.argument.read(0, bytes)
    return result
  }
}
