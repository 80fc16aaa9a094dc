// What moving a vCPU's extended state costs against a plain copy of the same bytes, what a permission check costs, and a world
// switch that KVM handles itself. One process of its own; prints one JSON object.
import { KVM_IOCTL, type KvmIoctlName } from '../../src/kvm/abi/ioctl-numbers.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { perSecond, startGuest, XTILE_DATA } from './guest.ts'

const NR_ioctl = 16
const NR_arch_prctl = 158
const ARCH_GET_XCOMP_GUEST_PERM = 0x1024
const CALLS = 200

/** A vCPU whose image holds every component, with tile data where the guest has AMX. */
function loaded(amx: boolean): { vcpu: VcpuFd; bytes: number } {
  const vcpu = startGuest(NOTHING, amx)
  const image = vcpu.getXsave2()
  image.xstateBv = amx ? 0x602e7n : 0x2e7n
  for (const { nr } of image.geometry.components) if (image.has(nr)) image.component(nr).fill(nr)
  vcpu.setXsave(image)
  return { vcpu, bytes: image.bytes.length }
}
const NOTHING = [0xf4]

/** How often a second an ioctl does its work on memory of the process, as a program calls it; and a copy of as many bytes. */
function ioctlAndCopy(name: KvmIoctlName, { vcpu, bytes }: { vcpu: VcpuFd; bytes: number }): { rate: number; copy: number } {
  const { process } = vcpu.vm.kvm
  const { backend } = process
  const memory = process.allocate(bytes)
  memory.write(0, vcpu.getXsave2().bytes)
  const [number, { fd }, { address }] = [KVM_IOCTL[name], vcpu, memory]
  if (backend.syscall(NR_ioctl, fd, number, address) !== 0) throw new Error(`${name} is refused`)
  const rate = perSecond(CALLS, () => {
    for (let i = 0; i < CALLS; i++) backend.syscall(NR_ioctl, fd, number, address)
  })
  const [from, to] = [new Uint8Array(bytes).fill(1), new Uint8Array(bytes)]
  const copy = perSecond(CALLS, () => {
    for (let i = 0; i < CALLS; i++) to.set(from)
  })
  return { rate, copy }
}

/** 1: rdmsr; jmp 1b of an MSR that KVM intercepts and emulates; and of CPUID. Two instructions a round, one VM exit. */
const ROUNDS = 20_000
function worldSwitches(code: readonly number[], length: number, rcx: bigint): number {
  const vcpu = startGuest(code, true)
  vcpu.setRegs({ ...vcpu.getRegs(), rcx })
  return perSecond(ROUNDS, () => {
    if (vcpu.run({ maxInstructions: length * ROUNDS }).reason !== 'interrupted') throw new Error('the guest left its loop')
  })
}
const RDMSR_LOOP = [0x0f, 0x32, 0xeb, 0xfc]
const CPUID_LOOP = [0x31, 0xc0, 0x0f, 0xa2, 0xeb, 0xfa]
const MSR_MISC_ENABLE = 0x1a0n

const [plain, amx] = [loaded(false), loaded(true)]
const { backend } = amx.vcpu.vm.kvm.process
const word = amx.vcpu.vm.kvm.process.allocate(8).address
const permission = perSecond(CALLS, () => {
  for (let i = 0; i < CALLS; i++) backend.syscall(NR_arch_prctl, ARCH_GET_XCOMP_GUEST_PERM, word)
})
const ask = perSecond(CALLS, () => {
  for (let i = 0; i < CALLS; i++) backend.syscall(NR_arch_prctl, 0x1025, XTILE_DATA)
})
process.stdout.write(
  `${JSON.stringify({
    getPlain: ioctlAndCopy('KVM_GET_XSAVE2', plain),
    getAmx: ioctlAndCopy('KVM_GET_XSAVE2', amx),
    setPlain: ioctlAndCopy('KVM_SET_XSAVE', plain),
    setAmx: ioctlAndCopy('KVM_SET_XSAVE', amx),
    permission: { rate: permission },
    ask: { rate: ask },
    rdmsr: { rate: worldSwitches(RDMSR_LOOP, 2, MSR_MISC_ENABLE) },
    cpuid: { rate: worldSwitches(CPUID_LOOP, 3, 0n) },
  })}\n`,
)
