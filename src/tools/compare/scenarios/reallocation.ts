import { MSR_IA32_XFD } from '../../../isa/msr-index.ts'
import { XFEATURE_XTILE_DATA } from '../../../isa/xfeatures.ts'
import { getXstate } from '../../../linux/fpu/regset.ts'
import type { VcpuExit } from '../../../vmm/exits.ts'
import { HLT, loadTile, loadTileConfiguration, makeVmm, out, xsetbv } from '../guest.ts'
import type { CompareScenario } from '../scenario.ts'

/** How a guest gets room for tile data: the reply to the posted KVM_EXIT_FPU_REALLOC series. */
const DOCUMENT = 'guest reallocation (Bonzini on KVM_EXIT_FPU_REALLOC, 2021)'
const EXIT = 'proposal:fpu-realloc-exit'
const INLINE = 'proposal:fpu-realloc-inline'
const MERGED = 'linux-5.17'
const SPR = 'SapphireRapids'
const PORT = 0x80
/** KVM_RUN calls after which a guest that makes no progress is given up. */
const MOST_RUNS = 12

const exitText = (exit: VcpuExit): string =>
  exit.reason === 'io'
    ? `io port 0x${exit.port.toString(16)} value ${exit.value}`
    : exit.reason === 'unknown'
      ? `exit reason ${exit.exitReason}`
      : exit.reason

export const reallocationScenarios: readonly CompareScenario[] = [
  {
    name: 'guest-reallocation',
    title: 'a guest comes to its first tile: an exit to user space, inline, or all at KVM_SET_CPUID2',
    document: DOCUMENT,
    profiles: [EXIT, INLINE, MERGED],
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      const code = [...xsetbv(0x602e7), ...out(PORT, 1), ...loadTileConfiguration(), ...loadTile(), ...out(PORT, 2), ...HLT]
      const { vcpu } = makeVmm(host, { amx: true, code })
      const image = (): number => host.costs.snapshot().vcpus[0].image
      lab.note('bytes of the vCPU image after KVM_SET_CPUID2', image())
      lab.cost(
        'guest to its end',
        host.costs,
        () => {
          for (let i = 0; i < MOST_RUNS; i++) {
            const exit = vcpu.run({ maxInstructions: 1000 })
            lab.note('KVM_RUN', exitText(exit))
            if (exit.reason === 'hlt' || exit.reason === 'shutdown') return
          }
        },
        ({ exitsToUser, kvmRuns }) => ({
          'KVM_RUN calls': kvmRuns,
          'exits to user space': Object.values(exitsToUser).reduce((sum, n) => sum + n, 0),
        }),
      )
      lab.note('bytes of the vCPU image at the end', image())
      lab.note('components in use at the end', vcpu.getXsave2().presentNames)
    },
  },
  {
    name: 'guest-without-amx',
    title: 'a guest that is offered AMX and never uses it: memory of its vCPU',
    document: DOCUMENT,
    profiles: [EXIT, INLINE, MERGED],
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      const { vcpu } = makeVmm(host, { amx: true, code: [...xsetbv(0x2e7), ...out(PORT, 1), ...HLT] })
      lab.note('KVM_RUN', exitText(vcpu.run({ maxInstructions: 1000 })))
      lab.note('bytes of the vCPU image', host.costs.snapshot().vcpus[0].image)
    },
  },
  {
    name: 'restore-xfd',
    title: 'the VMM restores IA32_XFD and XCR0 of a guest that used tiles',
    document: DOCUMENT,
    profiles: [EXIT, INLINE, MERGED],
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      const { vcpu } = makeVmm(host, { amx: true, code: [...out(PORT, 1), ...HLT] })
      lab.step('KVM_SET_XCRS 0x602e7', () => vcpu.setXcr0(0x602e7n))
      lab.step('KVM_SET_MSRS IA32_XFD 0', () => vcpu.writeMsr(MSR_IA32_XFD, 0n))
      lab.step('KVM_RUN', () => exitText(vcpu.run({ maxInstructions: 100 })))
      lab.note('kernel log', host.kernel.log.lines.filter((line) => /WARN/.test(line)).length === 0 ? 'silent' : 'a warning')
      lab.note('bytes of the vCPU image', host.costs.snapshot().vcpus[0].image)
    },
  },
  {
    name: 'no-permission',
    title: 'the VMM forgot to ask for permission: who is told, and when',
    document: DOCUMENT,
    profiles: [EXIT, INLINE, MERGED],
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      const offered = (entries: ReturnType<ReturnType<typeof makeVmm>['vcpu']['getCpuid2']>) =>
        entries.map((e) => (e.function === 0xd && e.index === 0 ? { ...e, eax: 0x602e7 } : e))
      const made = lab.step(
        'KVM_SET_CPUID2 with XTILE_DATA',
        () => makeVmm(host, { cpuid: offered, code: [...xsetbv(0x602e7), ...out(PORT, 1), ...HLT] }),
        () => 'ok',
      )
      if (made !== undefined) lab.step('guest XSETBV of tiles', () => exitText(made.vcpu.run({ maxInstructions: 1000 })))
    },
  },
  {
    name: 'tracer',
    title:
      'a tracer reads the XSAVE regset of the vCPU’s thread between two KVM_RUN: the host’s state, whoever holds the guest’s',
    document: DOCUMENT,
    profiles: [EXIT, MERGED, 'linux-6.12', 'proposal:cet-s-kernel-wide'],
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      const ones = [0x66, 0x0f, 0x76, 0xc0] // pcmpeqd xmm0, xmm0
      const { vcpu } = makeVmm(host, { amx: true, code: [...ones, ...out(PORT, 1), ...HLT] })
      lab.step('KVM_RUN: the guest fills XMM0', () => exitText(vcpu.run({ maxInstructions: 100 })))
      const thread = [...host.kernel.tasks.values()][0]
      const regset = new Uint8Array(thread.fpu.config.userMaxSize)
      getXstate(thread, regset)
      const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
      lab.note('XMM0 in the guest’s image', hex(vcpu.readXsave().bytes.subarray(160, 176)))
      lab.note('XMM0 in NT_X86_XSTATE', hex(regset.subarray(160, 176)))
      lab.note('bytes of NT_X86_XSTATE', regset.length)
      lab.note('XCR0 in its software bytes', `0x${new DataView(regset.buffer).getBigUint64(464, true).toString(16)}`)
    },
  },
  {
    name: 'host-xfd-write',
    title: 'KVM_SET_MSRS of IA32_XFD while tile data is live, then KVM_RUN: an oops of the host where the kernel has the flaw',
    document: 'guest state (GFPU-53), recorded on Linux 6.12.113',
    profiles: ['linux-6.12', 'linux-6.18', 'variant:xfd-write-clears'],
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      const { vcpu } = makeVmm(host, { amx: true, code: [...HLT] })
      vcpu.setXcr0(0x602e7n)
      const image = vcpu.getXsave2()
      image.xstateBv |= (1n << 18n) | (1n << 17n)
      image.component(17)[0] = 1
      image.component(XFEATURE_XTILE_DATA).fill(0x5a)
      lab.step('KVM_SET_XSAVE with tile data', () => vcpu.setXsave(image))
      lab.step('KVM_SET_MSRS IA32_XFD 0x40000', () => vcpu.writeMsr(MSR_IA32_XFD, 0x40000n))
      lab.step(
        'KVM_GET_XSAVE2',
        () => vcpu.getXsave2(),
        (saved) => saved.presentNames,
      )
      lab.step('KVM_RUN', () => exitText(vcpu.run({ maxInstructions: 100 })))
      lab.note(
        'kernel log',
        host.kernel.log.lines
          .filter((line) => /Oops|RIP: 0010|Call Trace/.test(line))
          .map((line) => line.replace(/^\[[^\]]*\] /, ''))
          .join('; ') || 'silent',
      )
    },
  },
]
