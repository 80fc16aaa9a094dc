import { XFEATURE_XTILE_DATA } from '../../../isa/xfeatures.ts'
import { groupPermission } from '../../../linux/fpu/permission.ts'
import type { Host } from '../../../vmm/modelled/host.ts'
import type { Process } from '../../../vmm/process.ts'
import { makeVmm } from '../guest.ts'
import type { Lab } from '../lab.ts'
import type { CompareScenario } from '../scenario.ts'

/** What the documents on permission bookkeeping argue about: seed of patch 06/25 "Opt-in kernel dynamic bits", October 2023. */
const DOCUMENT = 'permission bookkeeping (Levitsky, Christopherson, October 2023)'
const BEFORE = 'proposal:perm-bookkeeping-before'
const FIXED = 'proposal:perm-bookkeeping-fixed'
const IGNORED = 'proposal:guest-perm-ignored'
const TWO_DYNAMIC = 'Synthetic-TwoDynamic'
const SECOND = 20
const SPR = 'SapphireRapids'

const hex = (value: number | bigint): string => `0x${(typeof value === 'number' ? value >>> 0 : value).toString(16)}`

/** The record inside the kernel that prctl shows only in part (PERM-15). */
function record(host: Host, guest: boolean) {
  const leader = [...host.kernel.tasks.values()][0]
  const { statePerm, locked, kernelSize, userSize } = groupPermission(leader, guest)
  return { state_perm: hex(statePerm), LOCKED: locked, kernel_size: kernelSize, user_size: userSize }
}

function prctls(lab: Lab, { archPrctl }: Process): void {
  lab.step('ARCH_GET_XCOMP_PERM', () => archPrctl.getXcompPerm())
  lab.step('ARCH_GET_XCOMP_GUEST_PERM', () => archPrctl.getXcompGuestPerm())
}

const request = (lab: Lab, { archPrctl }: Process, nr: number): void =>
  void lab.step(`ARCH_REQ_XCOMP_GUEST_PERM ${nr}`, () => archPrctl.reqXcompGuestPerm(nr))

export const permissionScenarios: readonly CompareScenario[] = [
  {
    name: 'amx-request',
    title: 'a request for AMX, then a read of the permission bits: what prctl shows and what the kernel keeps',
    document: DOCUMENT,
    profiles: ['linux-6.12', 'linux-6.18'],
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      const process = host.newProcess('vmm')
      lab.step('ARCH_GET_XCOMP_SUPP', () => process.archPrctl.getXcompSupp())
      prctls(lab, process)
      lab.note('host record inside the kernel', record(host, false))
      lab.step('ARCH_REQ_XCOMP_PERM 18', () => process.archPrctl.reqXcompPerm(XFEATURE_XTILE_DATA))
      request(lab, process, XFEATURE_XTILE_DATA)
      prctls(lab, process)
      lab.note('host record inside the kernel', record(host, false))
      lab.note('guest record inside the kernel', record(host, true))
    },
  },
  {
    name: 'second-dynamic-feature',
    title: 'two requests, on a processor with a second dynamic component: the size of a guest’s buffer',
    document: DOCUMENT,
    profiles: [BEFORE, FIXED],
    cpu: TWO_DYNAMIC,
    run: (lab) => {
      const host = lab.host()
      const process = host.newProcess('vmm')
      for (const nr of [XFEATURE_XTILE_DATA, SECOND]) {
        request(lab, process, nr)
        lab.note(`guest record after the request for ${nr}`, record(host, true))
      }
      const kvm = process.openKvm()
      const vcpu = kvm.createVm().createVcpu()
      lab.step('KVM_SET_CPUID2 with both components', () => vcpu.setCpuid2(kvm.getSupportedCpuid()))
      lab.note('bytes of the vCPU image', host.costs.snapshot().vcpus[0]?.image ?? 0)
      lab.step('KVM_SET_XSAVE with data in component 20', () => {
        const image = vcpu.getXsave2()
        image.xstateBv |= 1n << BigInt(SECOND)
        image.component(SECOND).fill(0xa5)
        vcpu.setXsave(image)
      })
      lab.step('KVM_RUN', () => vcpu.run({ maxInstructions: 1 }).reason)
      lab.note(
        'kernel log',
        host.kernel.log.lines
          .filter((line) => /BUG|WARN|Oops/.test(line))
          .map((line) => line.replace(/^\[[^\]]*\] /, ''))
          .join('; ') || 'silent',
      )
    },
  },
  {
    name: 'locked-bit',
    title: 'the LOCKED flag beside the permission bits, when a grant stores the mask again',
    document: DOCUMENT,
    profiles: [BEFORE, FIXED],
    cpu: TWO_DYNAMIC,
    run: (lab) => {
      const host = lab.host()
      const process = host.newProcess('vmm')
      request(lab, process, XFEATURE_XTILE_DATA)
      process.openKvm().createVm().createVcpu()
      lab.note('guest record after KVM_CREATE_VCPU', record(host, true))
      request(lab, process, SECOND)
      lab.note('guest record after a second request', record(host, true))
    },
  },
  {
    name: 'vcpu-after-lock',
    title: 'guest permission asked for after the first vCPU exists',
    document: DOCUMENT,
    profiles: ['linux-6.12', IGNORED],
    cpu: SPR,
    run: (lab) => {
      const process = lab.host().newProcess('vmm')
      const kvm = process.openKvm()
      const vm = kvm.createVm()
      vm.createVcpu(0)
      request(lab, process, XFEATURE_XTILE_DATA)
      const second = lab.step(
        'KVM_CREATE_VCPU 1',
        () => vm.createVcpu(1),
        () => 'ok',
      )!
      lab.step('KVM_CHECK_EXTENSION(KVM_CAP_XSAVE2)', () => kvm.checkExtension('KVM_CAP_XSAVE2'))
      const supported = kvm.getSupportedCpuid()
      lab.note('CPUID.(0DH,0).EAX offered', hex(supported.find((e) => e.function === 0xd && e.index === 0)!.eax))
      const amx = supported.map((e) => (e.function === 0xd && e.index === 0 ? { ...e, eax: 0x602e7 } : e))
      lab.step('KVM_SET_CPUID2 with XTILE_DATA', () => second.setCpuid2(amx))
    },
  },
  {
    name: 'wrong-thread',
    title: 'who asks: a thread, a forked child, a program after exec',
    document: DOCUMENT,
    profiles: ['linux-6.12', IGNORED],
    cpu: SPR,
    run: (lab) => {
      const process = lab.host().newProcess('vmm')
      const thread = process.newThread()
      lab.step('a thread asks for guest permission', () => thread.archPrctl.reqXcompGuestPerm(XFEATURE_XTILE_DATA))
      lab.step('its leader reads ARCH_GET_XCOMP_GUEST_PERM', () => process.archPrctl.getXcompGuestPerm())
      const child = process.fork()
      lab.step('a child reads it', () => child.archPrctl.getXcompGuestPerm())
      process.openKvm().createVm().createVcpu()
      const late = process.fork()
      lab.step('a child made after KVM_CREATE_VCPU asks for host permission', () =>
        late.archPrctl.reqXcompPerm(XFEATURE_XTILE_DATA),
      )
      const other = lab.host().newProcess('vmm')
      other.openKvm().createVm().createVcpu()
      const locked = other.fork()
      lab.step('a child of a VMM without permission asks for guest permission', () =>
        locked.archPrctl.reqXcompGuestPerm(XFEATURE_XTILE_DATA),
      )
    },
  },
  {
    name: 'kernel-only-feature',
    title: 'what a request does to sizes when the kernel has components of its own (PASID, CET)',
    document: DOCUMENT,
    profiles: ['linux-5.17', 'linux-6.1', 'linux-6.12', 'linux-6.18', IGNORED],
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      const process = host.newProcess('vmm')
      lab.note('host record of a new process', record(host, false))
      lab.step('ARCH_REQ_XCOMP_PERM 18', () => process.archPrctl.reqXcompPerm(XFEATURE_XTILE_DATA))
      lab.note('host record afterwards', record(host, false))
      request(lab, process, XFEATURE_XTILE_DATA)
      lab.note('guest record afterwards', record(host, true))
      const { vcpu } = makeVmm(lab.host(), { amx: true })
      lab.note('bytes KVM_GET_XSAVE2 writes', vcpu.getXsave2().bytes.length)
    },
  },
]
