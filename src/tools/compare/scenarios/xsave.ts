import type { CpuidEntry2 } from '../../../vmm/cpuid-list.ts'
import type { Host } from '../../../vmm/modelled/host.ts'
import type { XsaveImage } from '../../../vmm/xsave-image.ts'
import { HLT, makeVmm, onlyComponents, out, type Vmm, withoutPku, xsetbv } from '../guest.ts'
import type { Lab } from '../lab.ts'
import type { CompareScenario } from '../scenario.ts'

/** What KVM_SET_XSAVE owes its caller: "Fix breakage in KVM_SET_XSAVE's ABI", October 2023. */
const DOCUMENT = 'KVM_SET_XSAVE ABI (Christopherson and Stachecki, October 2023)'
const LEAK = 'linux-5.16'
const STRICT = 'linux-5.17'
const TRIM = 'linux-6.12'
const DROP = 'proposal:set-xsave-silent-drop'
const ERAS = [LEAK, STRICT, TRIM]
const SPR = 'SapphireRapids'

const show = (image: XsaveImage): string => `XSTATE_BV=0x${image.xstateBv.toString(16)} (${image.presentNames || 'all initial'})`

/** Runs the guest for a moment, so that its state has been on a processor, and saves it. */
function runAndGet(lab: Lab, { vcpu }: Vmm, what: string): XsaveImage | undefined {
  vcpu.run({ maxInstructions: 20 })
  return lab.step(`${what}: KVM_GET_XSAVE`, () => vcpu.getXsave(), show)
}

function setAndGet(lab: Lab, { vcpu }: Vmm, image: XsaveImage, what: string): void {
  lab.step(`${what}: KVM_SET_XSAVE`, () => vcpu.setXsave(image.bytes))
  lab.step(`${what}: KVM_GET_XSAVE`, () => vcpu.getXsave(), show)
}

const LOOP = [...out(0x80, 1), ...HLT]
const pool = (host: Host, cpuid: (entries: CpuidEntry2[]) => CpuidEntry2[]): Vmm => makeVmm(host, { cpuid, code: LOOP })

export const xsaveScenarios: readonly CompareScenario[] = [
  {
    name: 'host-pkru-leak',
    title: 'a guest without protection keys is saved: whose PKRU is in the image',
    document: DOCUMENT,
    profiles: ERAS,
    cpu: SPR,
    run: (lab) => {
      const guest = pool(lab.host(), withoutPku)
      const image = runAndGet(lab, guest, 'here')
      if (image !== undefined) lab.note('PKRU is in the image', image.has(9))
    },
  },
  {
    name: 'feature-the-guest-never-had',
    title: 'a snapshot of a leaking kernel with PKRU, which the guest never had, comes to this kernel and goes on (M1, M2)',
    document: DOCUMENT,
    profiles: [LEAK, STRICT, TRIM, 'linux-6.18'],
    cpu: SPR,
    run: (lab) => {
      const source = pool(lab.host({ kernel: LEAK }), withoutPku)
      source.vcpu.run({ maxInstructions: 20 })
      const image = source.vcpu.getXsave()
      lab.note(`saved under ${LEAK}`, show(image))
      const target = pool(lab.host(), withoutPku)
      setAndGet(lab, target, image, 'here')
      const saved = target.vcpu.getXsave()
      const third = pool(lab.host({ kernel: 'linux-6.12', cpu: 'SapphireRapids,-pku' }), withoutPku)
      setAndGet(lab, third, saved, 'third host, which has no protection keys')
    },
  },
  {
    name: 'host-without-the-feature',
    title: 'the same snapshot comes to a host that does not have the feature (M3, M4)',
    document: DOCUMENT,
    profiles: [LEAK, STRICT, TRIM, DROP],
    cpu: SPR,
    run: (lab) => {
      const source = pool(lab.host({ kernel: LEAK }), withoutPku)
      source.vcpu.run({ maxInstructions: 20 })
      const leaked = source.vcpu.getXsave()
      const target = pool(lab.host({ cpu: 'SapphireRapids,-pku' }), withoutPku)
      setAndGet(lab, target, leaked, 'leaked image')
      const cleared = leaked.clone()
      cleared.xstateBv &= ~(1n << 9n)
      setAndGet(lab, target, cleared, 'the VMM cleared the bit')
    },
  },
  {
    name: 'lost-feature',
    title: 'the three steps: exposed on host A, lost by a bug of host B’s kernel, migrated (M5, M6)',
    document: DOCUMENT,
    profiles: [TRIM, DROP],
    cpu: SPR,
    run: (lab) => {
      const guest = makeVmm(lab.host({ kernel: 'linux-6.12' }), { code: [...xsetbv(0x2e7), ...out(0x80, 1), ...HLT] })
      guest.vcpu.run()
      const image = guest.vcpu.getXsave()
      image.xstateBv |= 1n << 6n
      image.component(6).fill(0x5a)
      guest.vcpu.setXsave(image)
      const cpuid = guest.vcpu.getCpuid2()
      lab.note('guest state on A', show(guest.vcpu.getXsave()))
      // Host B has AVX-512 in hardware; its kernel disabled it.
      const b = makeVmm(lab.host({ cpu: 'SapphireRapids,-avx512f' }), { cpuid: null })
      lab.step('B: KVM_SET_CPUID2 as on A', () =>
        b.vcpu.setCpuid2(cpuid.map((e) => (e.function === 0xd && e.index === 0 ? { ...e, eax: 0x2e7 } : e))),
      )
      lab.step('B: KVM_SET_XSAVE', () => b.vcpu.setXsave(image.bytes))
      lab.step('B: KVM_SET_XCRS 0x2e7', () => b.vcpu.setXcr0(0x2e7n))
      lab.step('B: KVM_GET_XSAVE', () => b.vcpu.getXsave(), show)
    },
  },
  {
    name: 'superset-image',
    title: 'an image with a component that the host can load and the guest does not have',
    document: DOCUMENT,
    profiles: ['linux-5.15', LEAK, STRICT, 'linux-6.1.0', 'linux-6.1', 'linux-6.6', TRIM, 'linux-6.18'],
    cpu: SPR,
    run: (lab) => {
      const target = pool(lab.host(), onlyComponents(0x7))
      const image = target.vcpu.getXsave()
      image.xstateBv = 0x3n | (1n << 5n)
      setAndGet(lab, target, image, 'OPMASK added')
      const reserved = target.vcpu.getXsave()
      reserved.bytes[575] = 1
      lab.step('a reserved header byte: KVM_SET_XSAVE', () => target.vcpu.setXsave(reserved.bytes))
    },
  },
]
