import { KVM_IOCTL, type KvmIoctlName } from '../../src/kvm/abi/ioctl-numbers.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import type { Process } from '../../src/vmm/process.ts'
import type { ProcessMemory } from '../../src/vmm/process-memory.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'

/** GET ioctls of a vCPU with the bytes they fill. KVM_GET_XSAVE where there is no KVM_GET_XSAVE2. */
const VCPU_GETS: readonly (readonly [KvmIoctlName, number])[] = [
  ['KVM_GET_REGS', 0x90],
  ['KVM_GET_SREGS', 0x138],
  ['KVM_GET_DEBUGREGS', 0x80],
  ['KVM_GET_VCPU_EVENTS', 0x40],
  ['KVM_GET_MP_STATE', 4],
  ['KVM_GET_XCRS', 0x188],
  ['KVM_GET_FPU', 0x1a0],
  ['KVM_GET_XSAVE2', 12288],
  ['KVM_GET_XSAVE', 4096],
  ['KVM_GET_LAPIC', 0x400],
]
const VM_GETS: readonly (readonly [KvmIoctlName, number])[] = [
  ['KVM_GET_CLOCK', 0x30],
  ['KVM_GET_PIT2', 0x70],
]
const CPUID_ENTRIES = 256
const MSRS_AT_ONCE = 255
const ZEROS = new Uint8Array(0x4000)

/**
 * All that user space can see of a vCPU, its VM and its process's permissions, and what the host accounts for them, as one hash:
 * every GET ioctl, every MSR of the save list, the three permission words, free pages and bytes of kernel buffers. A call that was
 * refused leaves it as it was (XSAVE-21).
 */
export class WholeState {
  private readonly host: Host
  private readonly process: Process
  private readonly vcpu: VcpuFd
  private readonly memory: ProcessMemory
  private readonly buffer = new Uint8Array(0x4000)
  private readonly words = new Uint32Array(this.buffer.buffer)
  private readonly msrList: Uint8Array
  private readonly cpuidRoom = new Uint8Array(8)
  private a = 0
  private b = 0

  /** @param memory at least 16 KiB of the process for results */
  constructor(host: Host, process: Process, vcpu: VcpuFd, memory: ProcessMemory) {
    this.host = host
    this.process = process
    this.vcpu = vcpu
    this.memory = memory
    const indices = vcpu.vm.kvm.getMsrIndexList().slice(0, MSRS_AT_ONCE)
    this.msrList = new Uint8Array(8 + indices.length * 16)
    const view = new DataView(this.msrList.buffer)
    view.setUint32(0, indices.length, true)
    indices.forEach((index, i) => {
      view.setUint32(8 + i * 16, index, true)
    })
    new DataView(this.cpuidRoom.buffer).setUint32(0, CPUID_ENTRIES, true)
    memory.write(0, new Uint8Array(memory.size))
  }

  digest(): string {
    this.a = 0x811c9dc5 | 0
    this.b = 0x2545f491
    const { kernel } = this.host
    // First: from 6.18 it may swap the guest FPU in and out (GFPU-09), after which XSTATE_BV has no component in its initial state.
    this.get(this.vcpu.fd, 'KVM_GET_MSRS', this.msrList.length, this.msrList)
    for (const [name, size] of VCPU_GETS) this.get(this.vcpu.fd, name, size, null)
    for (const [name, size] of VM_GETS) this.get(this.vcpu.vm.fd, name, size, null)
    this.get(this.vcpu.fd, 'KVM_GET_CPUID2', 8 + CPUID_ENTRIES * 40, this.cpuidRoom)
    this.add(this.process.tryIoctl(this.vcpu.fd, 'KVM_GET_TSC_KHZ'))
    for (const option of [0x1021, 0x1022, 0x1024]) {
      this.add(this.process.backend.syscall(158, option, this.memory.address))
      this.hash(8)
    }
    this.add(kernel.heap.bytesInUse)
    this.add(kernel.costs.bufferBytes)
    this.add(kernel.costs.buffersAllocated - kernel.costs.buffersFreed)
    this.add(kernel.pages.available)
    return [this.a, this.b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  }

  private get(fd: number, name: KvmIoctlName, size: number, argument: Uint8Array | null): void {
    // What an ioctl leaves alone must not be what an earlier one left there.
    this.memory.write(0, ZEROS.subarray(0, size))
    if (argument !== null) this.memory.write(0, argument)
    const result = this.process.backend.syscall(16, fd, KVM_IOCTL[name], this.memory.address)
    this.add(result)
    if (result >= 0) this.hash(size)
  }
  private hash(bytes: number): void {
    this.memory.read(0, this.buffer.subarray(0, bytes))
    const { words } = this
    for (let i = 0; i < bytes >> 2; i++) this.add(words[i])
  }
  private add(word: number): void {
    this.a = Math.imul(this.a ^ word, 0x01000193)
    this.b = Math.imul((this.b ^ word) + (this.b >>> 15), 0x85ebca6b)
  }
}
