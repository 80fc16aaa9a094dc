import { hex } from './calls.ts'
import { FlatGuest, type Registers } from './guest.ts'
import { hasAmx } from './host-layout.ts'
import type { Session } from './session.ts'
import { fullTileConfig } from './xsave-variants.ts'

const [CONFIG, DATA, STORED, AREA] = [0x10000, 0x11000, 0x12000, 0x20000]
const AREA_BYTES = 16384
const TILE_BYTES = 1024
const [XFD, XFD_ERR] = [0x1c4, 0x1c5]
const TILE_BIT = 1n << 18n

const INSTRUCTIONS = {
  ldtilecfg: { code: [0xc4, 0xe2, 0x78, 0x49, 0x00], registers: [CONFIG, 0, 0, 0] },
  tilezero: { code: [0xc4, 0xe2, 0x7b, 0x49, 0xc0], registers: [0, 0, 0, 0] },
  tileloadd: { code: [0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x18], registers: [DATA, 64, 0, 0] },
  tilestored: { code: [0xc4, 0xe2, 0x7a, 0x4b, 0x04, 0x18], registers: [STORED, 64, 0, 0] },
  tilerelease: { code: [0xc4, 0xe2, 0x78, 0x49, 0xc0], registers: [0, 0, 0, 0] },
  xsave: { code: [0x48, 0x0f, 0xae, 0x23], registers: [0xffffffff, AREA, 0, 0xffffffff] },
  xsavec: { code: [0x48, 0x0f, 0xc7, 0x23], registers: [0xffffffff, AREA, 0, 0xffffffff] },
  xsaves: { code: [0x48, 0x0f, 0xc7, 0x2b], registers: [0xffffffff, AREA, 0, 0xffffffff] },
  xrstor: { code: [0x48, 0x0f, 0xae, 0x2b], registers: [1 << 18, AREA, 0, 0] },
} as const satisfies Record<string, { code: readonly number[]; registers: Registers }>

/** A guest that uses tiles. */
class AmxGuest extends FlatGuest {
  private readonly calls: Session['calls']
  readonly data = Uint8Array.from({ length: TILE_BYTES }, (_, i) => i * 3 + 5)

  constructor(session: Session) {
    super(session)
    this.calls = session.calls
    this.memory.write(CONFIG, fullTileConfig())
    this.memory.write(DATA, this.data)
  }

  /** `arg`: what the driver notes beside the instruction. */
  do(instruction: keyof typeof INSTRUCTIONS, arg?: string): void {
    const { code, registers } = INSTRUCTIONS[instruction]
    this.run(`guest_${instruction}`, code, registers, arg === undefined ? [] : [arg])
  }
  /** An instruction of the XSAVE family into an area of zeros, and the header it leaves there. */
  save(instruction: 'xsave' | 'xsavec' | 'xsaves', arg: string): void {
    this.memory.write(AREA, new Uint8Array(AREA_BYTES))
    this.do(instruction, arg)
    const view = new DataView(this.memory.bytes(AREA, AREA_BYTES).buffer)
    const bv = { guest_xstate_bv: hex(view.getBigUint64(512, true)) }
    const tile0 = [2816, 2817].map((at) => view.getUint8(at).toString(16).padStart(2, '0')).join('')
    this.calls.add(instruction === 'xsave' ? { ...bv, tile0 } : { ...bv, xcomp_bv: hex(view.getBigUint64(520, true)) })
  }
  compareStored(): void {
    const stored = this.memory.bytes(STORED, TILE_BYTES)
    this.calls.call('guest_tile_content_equal', null, () => (stored.every((byte, i) => byte === this.data[i]) ? 1 : 0))
  }
  clearStored(): void {
    this.memory.write(STORED, new Uint8Array(TILE_BYTES))
  }
}

/** guest.amx.PROFILE */
export function guestAmx(session: Session, profile: string): void {
  session.profile(profile)
  const guest = new AmxGuest(session)
  const unable = !hasAmx(session.host, session.process.archPrctl.getXcompSupp())
  if (unable || guest.setControls(0x40000).ret !== 0) {
    session.calls.note(unable ? 'no AMX' : 'no OSXSAVE')
    return
  }
  const show = (index: number) => {
    guest.rdmsr(index)
    session.getMsr(index)
  }
  guest.do('ldtilecfg', 'before XSETBV')
  guest.xsetbv(0x602e7n)
  guest.xgetbv(1)
  guest.do('ldtilecfg')
  guest.xgetbv(1)
  guest.do('tilezero')
  guest.xgetbv(1)
  guest.rdmsr(XFD_ERR)
  guest.do('tileloadd')
  guest.xgetbv(1)
  session.dumpImage()
  guest.wrmsr(XFD, TILE_BIT)
  guest.rdmsr(XFD)
  guest.rdmsr(XFD_ERR)
  guest.xgetbv(1)
  session.dumpImage()
  guest.do('tilezero', 'XFD[18]=1')
  guest.rdmsr(XFD_ERR)
  session.getMsr(XFD)
  session.getMsr(XFD_ERR)
  guest.wrmsr(XFD_ERR, 0n)
  show(XFD_ERR)
  guest.do('tilestored', 'XFD[18]=1')
  show(XFD_ERR)
  for (const instruction of ['xsave', 'xsavec', 'xsaves'] as const) guest.save(instruction, 'XFD[18]=1')
  restoreDisabled(guest)
  guest.wrmsr(XFD, 0n)
  guest.do('tilestored', 'XFD=0 again')
  guest.compareStored()
  guest.save('xsaves', 'XFD=0')
  restoreTiles(session, guest)
  reduceXcr0(session, guest)
}

/** XRSTOR of tile data that XFD disables. */
function restoreDisabled(guest: AmxGuest): void {
  guest.memory.write(AREA, new Uint8Array(AREA_BYTES))
  guest.memory.write(AREA + 24, Uint8Array.of(0x80, 0x1f))
  guest.memory.write(AREA + 512, new Uint8Array(BigUint64Array.of(TILE_BIT).buffer))
  guest.do('xrstor', 'tiledata from memory, XFD[18]=1')
  guest.rdmsr(XFD_ERR)
  guest.wrmsr(XFD_ERR, 0n)
}

function restoreTiles(session: Session, guest: AmxGuest): void {
  const { calls, process } = session
  calls.note('save, reset the state in a new vcpu, restore')
  session.getImage()
  const saved = session.image.slice()
  const restore = () => calls.call('KVM_SET_XSAVE', ['saved'], () => process.ioctlTakes(session.vcpu!.fd, 'KVM_SET_XSAVE', saved))
  guest.do('tilerelease')
  guest.xgetbv(1)
  session.dumpImage()
  restore()
  guest.xgetbv(1)
  guest.clearStored()
  guest.do('tilestored', 'after restore')
  guest.compareStored()
  calls.note('host writes XFD=0x40000 then restores tile data')
  session.setMsr(XFD, TILE_BIT)
  session.getMsr(XFD)
  restore()
  session.dumpImage()
  guest.rdmsr(XFD)
  guest.xgetbv(1)
  session.dumpImage()
  session.setMsr(XFD, 0n)
  guest.clearStored()
  guest.do('tilestored')
  guest.compareStored()
}

function reduceXcr0(session: Session, guest: AmxGuest): void {
  const { calls } = session
  calls.note('XCR0 reduced by the guest while tile data is live')
  for (const value of [7n, 0x602e7n]) {
    guest.xsetbv(value)
    session.dumpImage()
  }
  guest.xgetbv(1)
  calls.note('XCR0 reduced by the host')
  session.setXcr0(7n)
  session.dumpImage()
  guest.xgetbv(0)
  session.setXcr0(0x602e7n)
  guest.xgetbv(0)
}
