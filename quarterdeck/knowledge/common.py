"""Words that say little whatever they are asked of: a passage that holds "yesterday" is not about the question for it.

How often a word stands among the candidates tells this only where they speak as people do, and articles do not.
"""

from __future__ import annotations

from quarterdeck.knowledge.analyze import stem

__all__ = ["COMMON"]

_ENGLISH = """
able above across act actual add afternoon age ago agree ahead air allow almost alone along already always amount annoy
anybody anyway anywhere apart appear area arm around arrange arrive ask asleep awake aware away awful back bad bag
basically bear beautiful become bed begin behind believe belong best better big bit blame block body bore bother bottom
bowl box boy brief bright bring build bunch busy button call care carry case catch cause center certain chance change
cheap check choose clean clear close cold come comfortable common company complain complete concern consider continue
cool corner correct couple course cover crazy create cross cup current cut damn dark day dead deal dear decide deep
definitely depend describe die different difficult direct dirty doubt draw dream dress drive drop dry due during dust
each early easy eat edge effect eight either eleven else empty end enjoy enough enter entire especially even evening
ever everybody everyone everything exact exactly example except expect explain extra eye face fact fail fair fall far
fast feel few fifteen fifth fifty fight figure fill final fine finish fire first fit five fix fly folk follow foot force
forget form forty forward four free fresh friend front full fun funny future general gentle girl glad go god good grab
great ground group grow guess guy half hand handle hang happen happy hard hate head hear heart heavy hello help hey hi
high himself hit hold hole honest hope hour huge hundred hungry hurry hurt idea imagine important impossible instead
interest issue item join just keep kick kill kind kitchen know lake large last late later laugh lay lead learn least
left less level lie life light like likely line list little live local long look lose lot loud love low luck mad main
make man many matter may maybe mean meet mention mess middle might mind mine minute mistake moment month morning most
move much myself name near necessary neck need never new news next nice night nine no nobody noise none noon normal
north note nothing notice now number obvious odd off often oh ok okay old once one open opinion orange ours outside over
own pain pair parent part particular pass past people perfect perhaps period person pick picture piece place plain plan
play please plenty point possible power prefer pretty probably problem produce promise proper public pull purpose push
put question quick quickly quiet quite rain reach read ready real realize really reason receive recent red regular
remember rest rid right ring roughly round run sad safe same save say scare second see seem self send sense serious
seven several share she short should show shut side silly similar simple simply since single sir sit situation six size
sleep slow small smell so soft some somebody somehow someone something sometimes somewhere soon sorry sort sound south
space speak special spend stand start state stay steal step still stop straight strange strong stuff stupid such
suddenly suggest summer sun suppose sure surprise sweet table take talk tell ten terrible than thank theirs thing think
third thirty this thousand three throw tie time tip tired to today together tomorrow tonight too top total touch tough
toward town tree trick trouble true truth try turn twelve twenty twice two type ugh ugly under understand until upon use
useful usual usually various very wait wake walk wall want warm wash watch water way wear week weird welcome well
whatever whenever wherever whether while white whole whose why will win window winter wish wonder word work world worry
worse worth would write wrong yard yeah year yesterday yet young yours yourself
"""
# Their past, where no stem leads back to them.
_PAST = """
ate became been began begun brought built came caught chose chosen did done drawn drew driven drove eaten fallen fell felt
flew forgot forgotten fought found gave given gone got grew grown heard held hid hidden hung kept knew known laid lay led
let lost made meant met put ran read rode rung said sat saw seen shown slept spent spoke spoken stolen stood taken told
took thought threw thrown understood went woke won wore worn written wrote
"""

COMMON = frozenset(map(stem, (*_ENGLISH.split(), *_PAST.split())))
"""Stems of English words of every conversation."""
